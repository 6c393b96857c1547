/** Keys are bytes, ordered byte by byte: what lies where, without turning any of them into text. */

export type Bytes = Uint8Array;

const ENCODER = new TextEncoder();
const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Compares as the store does: below 0 if `a` comes first, 0 if they are the same. */
export function compare(a: Uint8Array, b: Uint8Array): number {
	const shared = Math.min(a.length, b.length);
	for (let i = 0; i < shared; i += 1) {
		const difference = (a[i] ?? 0) - (b[i] ?? 0);
		if (difference !== 0) return difference;
	}
	return a.length - b.length;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
	return a.length === b.length && compare(a, b) === 0;
}

export function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
	return key.length >= prefix.length && equal(key.subarray(0, prefix.length), prefix);
}

export function concat(a: Uint8Array, b: Uint8Array): Bytes {
	const both = new Uint8Array(a.length + b.length);
	both.set(a);
	both.set(b, a.length);
	return both;
}

/** The first key after `key`. */
export function successor(key: Uint8Array): Bytes {
	return concat(key, Uint8Array.of(0));
}

/** What every key that begins with `prefix` comes before; null: there is no such key, all that follow do. */
export function prefixEnd(prefix: Uint8Array): Bytes | null {
	const end = Uint8Array.from(prefix);
	for (let last = end.length - 1; last >= 0; last -= 1) {
		const byte = end[last] ?? 0;
		if (byte < 0xff) {
			end[last] = byte + 1;
			return end.slice(0, last + 1);
		}
	}
	return null;
}

/** A name of `key` for maps and `{#each}`: the same for the same bytes, another for others. */
export function keyId(key: Uint8Array): string {
	let id = '';
	for (const byte of key) id += String.fromCharCode(byte);
	return id;
}

export function utf8(text: string): Bytes {
	return ENCODER.encode(text);
}

/** The text that `bytes` are, to the last byte; null if they are none. */
export function asText(bytes: Uint8Array): string | null {
	try {
		return STRICT.decode(bytes);
	} catch {
		return null;
	}
}
