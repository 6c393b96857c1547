// Colours for JSON, line by line, without a parser: what is cut off is coloured too.

export type Token = { text: string; kind: 'plain' | 'string' | 'number' | 'word' };

const PART =
	/"(?:[^"\\]|\\.)*"(?=\s*:)|("(?:[^"\\]|\\.)*"?)|(-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)|\b(true|false|null)\b/g;

export function tokens(line: string): Token[] {
	const out: Token[] = [];
	let from = 0;
	const plain = (to: number) => {
		if (to > from) out.push({ text: line.slice(from, to), kind: 'plain' });
	};
	for (const found of line.matchAll(PART)) {
		const [text, string, number, word] = found;
		const kind = string !== undefined ? 'string' : number ? 'number' : word ? 'word' : 'plain';
		// Names stay plain, together with what is around them.
		if (kind === 'plain') continue;
		plain(found.index);
		out.push({ text, kind });
		from = found.index + text.length;
	}
	plain(line.length);
	return out;
}
