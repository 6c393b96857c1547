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
	const at = text.lastIndexOf('/', text.length - 2) + 1;
	return { above: text.slice(0, at), own: text.slice(at) };
}

/** The beginning of a value. */
export function valuePreview({ value, size }: Entry): string {
	if (value === null) return '';
	if (size === 0) return '(empty)';
	const more = size !== null && size > value.length ? '…' : '';
	const text = asText(value);
	if (text !== null)
		return display(new TextEncoder().encode(text.replace(/\s+/g, ' '))).text + more;
	const rest = value.length > HEX_BYTES ? ' …' : more;
	return `0x${hexDigits(value.subarray(0, HEX_BYTES))}${rest}`;
}
