import { describe, expect, it } from 'vitest';
import { display, escapes, fromEscapes, toBytes } from './key';

describe('keys', () => {
	it.each(['config/a', '../x', '<script>', 'naïve 😀', ' ', '\\x00 as text'])(
		'%j is shown as it is',
		(text) => expect(display(toBytes(text))).toEqual({ text, binary: false })
	);

	it.each([
		[[0x00, 0xff], '\\x00\\xff'],
		[[0x61, 0x0a], 'a\\x0a'],
		// A mark that turns the writing direction would show another key than it is.
		[[...toBytes('a\u202eb')], 'a\\xe2\\x80\\xaeb'],
		[[0x5c, 0x80], '\\\\\\x80']
	])('%j is shown with escapes', (bytes, text) =>
		expect(display(Uint8Array.from(bytes))).toEqual({ text, binary: true })
	);

	it('escapes can be read back, whatever the bytes', () => {
		const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
		expect(fromEscapes(escapes(every))).toEqual(every);
	});

	it('what is typed may mix text and escapes', () => {
		expect(fromEscapes('é\\n\\x41\\\\')).toEqual(Uint8Array.from([0xc3, 0xa9, 0x0a, 0x41, 0x5c]));
		for (const wrong of ['\\', '\\x', '\\x4', '\\xzz', '\\q'])
			expect(fromEscapes(wrong)).toBeNull();
	});
});
