// Keys are bytes. Most are readable text; those that are not are written with escapes that can be
// read back, so that what is shown always names exactly one key.

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// Control, format (among them the marks that turn the writing direction) and other characters that
// would not be seen, and the one that would stand for what could not be decoded.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/u;

export type Shown = {
	text: string;
	/** Whether `text` is written with escapes. */
	binary: boolean;
};

function text(bytes: Uint8Array): string | null {
	try {
		return strict.decode(bytes);
	} catch {
		return null;
	}
}

/** How a key is shown: as the text it is, or with escapes if any of it would not be seen. */
export function display(bytes: Uint8Array): Shown {
	const plain = text(bytes);
	if (plain !== null && !UNSEEN.test(plain)) return { text: plain, binary: false };
	return { text: escapes(bytes), binary: true };
}

/** The bytes of a key that was typed as text. */
export function toBytes(typed: string): Uint8Array {
	return encoder.encode(typed);
}

/** Every byte that is not printable ASCII as `\xNN`, a backslash doubled. */
export function escapes(bytes: Uint8Array): string {
	let out = '';
	for (const byte of bytes) {
		if (byte === 0x5c) out += '\\\\';
		else if (byte >= 0x20 && byte < 0x7f) out += String.fromCharCode(byte);
		else out += `\\x${byte.toString(16).padStart(2, '0')}`;
	}
	return out;
}

/** The inverse of `escapes`; null if an escape is not one of `\\`, `\n`, `\r`, `\t`, `\0`, `\xNN`. */
export function fromEscapes(typed: string): Uint8Array | null {
	const out: number[] = [];
	const short: Record<string, number> = { '\\': 0x5c, n: 10, r: 13, t: 9, '0': 0 };
	for (let at = 0; at < typed.length;) {
		const char = String.fromCodePoint(typed.codePointAt(at) ?? 0);
		if (char !== '\\') {
			out.push(...encoder.encode(char));
			at += char.length;
			continue;
		}
		const next = typed[at + 1] ?? '';
		const hex = typed.slice(at + 2, at + 4);
		const byte = next === 'x' && /^[0-9a-f]{2}$/i.test(hex) ? parseInt(hex, 16) : short[next];
		if (byte === undefined) return null;
		out.push(byte);
		at += next === 'x' ? 4 : 2;
	}
	return Uint8Array.from(out);
}
