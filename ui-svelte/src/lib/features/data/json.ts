/**
 * JSON as people read it: the same tokens with line breaks between them. Nothing is parsed and printed
 * anew, which would change numbers beyond 2^53 and drop what is said twice.
 */

const INDENT = '  ';

/** The text laid out; null: it is no JSON. */
export function prettyJson(text: string): string | null {
	try {
		JSON.parse(text);
	} catch {
		return null;
	}
	let out = '';
	let depth = 0;
	const tokens = tokensOf(text);
	for (const [i, token] of tokens.entries()) {
		const next = tokens[i + 1];
		if (token === '{' || token === '[') {
			out += token;
			if (next === '}' || next === ']') continue;
			depth += 1;
			out += newLine(depth);
		} else if (token === '}' || token === ']') {
			const before = tokens[i - 1];
			if (before !== '{' && before !== '[') {
				depth -= 1;
				out += newLine(depth);
			}
			out += token;
		} else if (token === ',') {
			out += token + newLine(depth);
		} else {
			out += token === ':' ? ': ' : token;
		}
	}
	return out;
}

function newLine(depth: number): string {
	return `\n${INDENT.repeat(depth)}`;
}

/** The tokens of what is known to be JSON. By hand: a regular expression has no room for long strings. */
function tokensOf(text: string): string[] {
	const tokens: string[] = [];
	let at = 0;
	while (at < text.length) {
		const character = text.charAt(at);
		if (' \t\r\n'.includes(character)) {
			at += 1;
			continue;
		}
		let end = at + 1;
		if (character === '"') {
			while (text.charAt(end) !== '"') end += text.charAt(end) === '\\' ? 2 : 1;
			end += 1;
		} else if (!'{}[],:'.includes(character)) {
			while (end < text.length && !' \t\r\n{}[],:'.includes(text.charAt(end))) end += 1;
		}
		tokens.push(text.slice(at, end));
		at = end;
	}
	return tokens;
}

export type Tone = 'plain' | 'name' | 'string' | 'number' | 'word';

export interface Part {
	readonly text: string;
	readonly tone: Tone;
}

const PARTS = /("(?:[^"\\]|\\.)*"?)(\s*:)?|(-?\d[\d.eE+-]*)|(\b(?:true|false|null)\b)/g;

/** A line of JSON in parts to be coloured. */
export function colour(line: string): Part[] {
	const parts: Part[] = [];
	let end = 0;
	const add = (text: string, tone: Tone) => {
		if (text !== '') parts.push({ text, tone });
	};
	for (const match of line.matchAll(PARTS)) {
		add(line.slice(end, match.index), 'plain');
		const [all, text, colon, number] = match;
		if (text !== undefined) {
			add(text, colon === undefined ? 'string' : 'name');
			add(colon ?? '', 'plain');
		} else {
			add(all, number === undefined ? 'word' : 'number');
		}
		end = match.index + all.length;
	}
	add(line.slice(end), 'plain');
	return parts;
}
