/** Bytes as people read and type them: hexadecimal digits. */
import type { Bytes } from './range';

export const ROW_BYTES = 16;

export interface HexRow {
	readonly offset: string;
	readonly digits: string;
	readonly text: string;
}

/** Row `index` of a dump: the offset, its bytes in digits, and those of them that are ASCII. */
export function hexRow(bytes: Uint8Array, index: number, rowBytes = ROW_BYTES): HexRow {
	const from = index * rowBytes;
	const part = bytes.subarray(from, from + rowBytes);
	let text = '';
	for (const byte of part) text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
	return { offset: from.toString(16).padStart(6, '0'), digits: hexDigits(part), text };
}

export function hexRows(bytes: Uint8Array, rowBytes = ROW_BYTES): number {
	return Math.ceil(bytes.length / rowBytes);
}

/** The digits alone: `68 65 6c`. */
export function hexDigits(bytes: Uint8Array): string {
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** The digits in rows, for an editor. */
export function hexText(bytes: Uint8Array): string {
	const rows = Array.from({ length: hexRows(bytes) }, (_, row) => hexRow(bytes, row).digits);
	return rows.join('\n');
}

export type ParsedHex = { ok: true; bytes: Bytes } | { ok: false; reason: string };

/** Reads digits with any blanks between the bytes. */
export function parseHex(text: string): ParsedHex {
	const lines = text.split('\n');
	const bytes: number[] = [];
	for (const [number, line] of lines.entries()) {
		for (const word of line.split(/\s+/).filter((part) => part !== '')) {
			const wrong = /[^0-9a-f]/i.exec(word);
			if (wrong) {
				return { ok: false, reason: `Line ${number + 1}: “${wrong[0]}” is no hexadecimal digit.` };
			}
			if (word.length % 2 === 1) {
				return { ok: false, reason: `Line ${number + 1}: “${word}” has half a byte.` };
			}
			for (let i = 0; i < word.length; i += 2) bytes.push(parseInt(word.slice(i, i + 2), 16));
		}
	}
	return { ok: true, bytes: Uint8Array.from(bytes) };
}
