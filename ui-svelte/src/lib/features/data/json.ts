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
