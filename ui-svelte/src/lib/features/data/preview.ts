/** Keys and values on one line. */
import type { Entry } from '$lib/api/kv';
import { display } from '$lib/format/key';
import { hexDigits } from './hex';
import { asText } from './range';

const HEX_BYTES = 12;

/** A key in two parts: what it shares with its neighbours, and its own. */
export function keyParts(key: Uint8Array): { above: string; own: string } {
	const { text } = display(key);
	// A key that ends with a slash is not all neighbourhood.
	const at = text.slice(0, -1).lastIndexOf('/') + 1;
	return { above: text.slice(0, at), own: text.slice(at) };
}

/** Bytes of a value that fit on a line. */
const LINE_BYTES = 160;

/** The beginning of a value. */
export function valuePreview(entry: Entry): string {
	const { size } = entry;
	if (entry.value === null) return '';
	if (size === 0) return '(empty)';
	const value = entry.value.subarray(0, LINE_BYTES);
	const more = size !== null && size > value.length ? '…' : '';
	const text = readable(value, value.length < entry.value.length);
	if (text !== null)
		return display(new TextEncoder().encode(text.replace(/\s+/g, ' '))).text + more;
	const rest = value.length > HEX_BYTES ? ' …' : more;
	return `0x${hexDigits(value.subarray(0, HEX_BYTES))}${rest}`;
}

/** What no text that people write has in it. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\u0000-\u0008\u000e-\u001f]/;

/** The text that the bytes are, if it can be read. */
function readable(bytes: Uint8Array, cut: boolean): string | null {
	const text = beginningOf(bytes, cut);
	return text === null || CONTROL.test(text) ? null : text;
}

/** The text that the bytes are; of one that was cut, without half a character at its end. */
function beginningOf(bytes: Uint8Array, cut: boolean): string | null {
	const whole = asText(bytes);
	if (whole !== null || !cut) return whole;
	for (let less = 1; less <= 3; less += 1) {
		const text = asText(bytes.subarray(0, bytes.length - less));
		if (text !== null) return text;
	}
	return null;
}
