// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { hexRow, hexRows, hexText, parseHex } from './hex';

const all = Uint8Array.from({ length: 256 }, (_, i) => i);

describe('bytes as digits', () => {
	it('come back as they were', () => {
		expect(parseHex(hexText(all))).toEqual({ ok: true, bytes: all });
		expect(parseHex(hexText(new Uint8Array()))).toEqual({ ok: true, bytes: new Uint8Array() });
	});

	it('may be typed with any blanks between them', () => {
		expect(parseHex(' 00ff\t1A\n\n7f')).toEqual({
			ok: true,
			bytes: Uint8Array.of(0, 255, 26, 127)
		});
	});

	it('are refused by line when they are none', () => {
		expect(parseHex('00\n0g')).toEqual({
			ok: false,
			reason: 'Line 2: “g” is no hexadecimal digit.'
		});
		expect(parseHex('0')).toEqual({ ok: false, reason: 'Line 1: “0” has half a byte.' });
	});

	it('are shown with their offset and what of them is ASCII', () => {
		expect(hexRow(all, 4)).toEqual({
			offset: '000040',
			digits: '40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f',
			text: '@ABCDEFGHIJKLMNO'
		});
		expect(hexRow(Uint8Array.of(0, 0x7f), 0)).toEqual({
			offset: '000000',
			digits: '00 7f',
			text: '..'
		});
		expect([hexRows(all), hexRows(new Uint8Array(17)), hexRows(new Uint8Array())]).toEqual([
			16, 2, 0
		]);
	});
});
