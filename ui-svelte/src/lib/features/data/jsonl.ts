/**
 * Keys and values as lines of JSON, in the shapes of the API's own NDJSON: `{"key":..,"value":..}`, with
 * `key_encoding` and `encoding` where they are base64. What else an exported line has is ignored.
 *
 * Nothing is lost silently: a line is a pair, blank, or wrong with a reason.
 */
import { asText, keyId, utf8, type Bytes } from './range';

/** Operations that a transaction may have. */
export const BATCH_PAIRS = 128;
/** Bytes of keys and values in one transaction: well below what a command may be. */
export const BATCH_BYTES = 2 << 20;

export interface Pair {
	readonly key: Bytes;
	readonly value: Bytes;
}

export type Line =
	{ kind: 'pair'; pair: Pair } | { kind: 'blank' } | { kind: 'wrong'; reason: string };

/** Reads one line. */
export function parseLine(line: string): Line {
	if (line.trim() === '') return { kind: 'blank' };
	let document: unknown;
	try {
		document = JSON.parse(line);
	} catch {
		return { kind: 'wrong', reason: 'is no JSON' };
	}
	if (typeof document !== 'object' || document === null || Array.isArray(document)) {
		return { kind: 'wrong', reason: 'is no object' };
	}
	const members = new Map<string, unknown>(Object.entries(document));
	const key = member(members, 'key', 'key_encoding');
	if (typeof key === 'string') return { kind: 'wrong', reason: key };
	if (key.length === 0) return { kind: 'wrong', reason: 'has an empty key' };
	const value = member(members, 'value', 'encoding');
	if (typeof value === 'string') return { kind: 'wrong', reason: value };
	return { kind: 'pair', pair: { key, value } };
}

/** The bytes of a member, or what is wrong with it. */
function member(members: Map<string, unknown>, name: string, encoding: string): Bytes | string {
	const text = members.get(name);
	if (text === undefined) return `has no “${name}”`;
	if (typeof text !== 'string') return `has a “${name}” that is no text`;
	const written = members.get(encoding);
	if (written === undefined || written === null) {
		// Half a character has no bytes: it would be stored as something else.
		const bytes = utf8(text);
		return asText(bytes) === text ? bytes : `has a “${name}” with half a character`;
	}
	if (written !== 'base64') return `has an unknown “${encoding}”`;
	try {
		return Uint8Array.from(atob(text), (digit) => digit.charCodeAt(0));
	} catch {
		return `has a “${name}” that is no base64`;
	}
}

/** Gathers pairs into transactions: each key once in each, for that is all a transaction takes. */
export class Batcher {
	#pairs: Pair[] = [];
	#keys = new Set<string>();
	#bytes = 0;

	/** Adds a pair; returns the batch before it if the pair does not fit in there. */
	add(pair: Pair): readonly Pair[] | null {
		const bytes = pair.key.length + pair.value.length;
		const id = keyId(pair.key);
		const full =
			this.#pairs.length >= BATCH_PAIRS ||
			(this.#pairs.length > 0 && this.#bytes + bytes > BATCH_BYTES) ||
			this.#keys.has(id);
		const done = full ? this.take() : null;
		this.#pairs.push(pair);
		this.#keys.add(id);
		this.#bytes += bytes;
		return done;
	}

	/** What is gathered so far. */
	take(): readonly Pair[] {
		const pairs = this.#pairs;
		this.#pairs = [];
		this.#keys = new Set();
		this.#bytes = 0;
		return pairs;
	}
}

/** Splits text that arrives in parts into lines. */
export class Lines {
	#rest = '';

	/** The lines that `part` ends. */
	add(part: string): string[] {
		const lines = (this.#rest + part).split('\n');
		this.#rest = lines.pop() ?? '';
		return lines;
	}

	/** The last line, if the text did not end with a line break. */
	end(): string[] {
		const last = this.#rest;
		this.#rest = '';
		return last === '' ? [] : [last];
	}
}
