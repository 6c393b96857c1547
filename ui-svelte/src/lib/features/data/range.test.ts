// @vitest-environment node
import { describe, expect, it } from 'vitest';
import {
	asText,
	compare,
	concat,
	equal,
	keyId,
	prefixEnd,
	startsWith,
	successor,
	utf8
} from './range';

const bytes = (...all: number[]) => Uint8Array.from(all);

describe('the order of keys', () => {
	it('is byte by byte, and a beginning comes before what it begins', () => {
		const sorted = [bytes(), bytes(0), bytes(0, 0), utf8('a'), utf8('a/'), utf8('b'), bytes(0xff)];
		for (let i = 1; i < sorted.length; i += 1) {
			expect(compare(sorted[i - 1] ?? bytes(), sorted[i] ?? bytes())).toBeLessThan(0);
			expect(compare(sorted[i] ?? bytes(), sorted[i - 1] ?? bytes())).toBeGreaterThan(0);
		}
		expect(equal(utf8('é'), bytes(0xc3, 0xa9))).toBe(true);
	});

	it('has nothing between a key and its successor', () => {
		expect(successor(utf8('a'))).toEqual(bytes(0x61, 0));
		expect(compare(utf8('a'), successor(utf8('a')))).toBeLessThan(0);
	});

	it('ends a prefix after its last key, whatever its bytes', () => {
		expect(prefixEnd(utf8('a/'))).toEqual(utf8('a0'));
		expect(prefixEnd(bytes(0x61, 0xff, 0xff))).toEqual(bytes(0x62));
		expect(prefixEnd(bytes(0xff))).toBeNull();
		expect(prefixEnd(bytes())).toBeNull();
		expect(startsWith(utf8('a/b'), utf8('a/')) && !startsWith(utf8('a'), utf8('a/'))).toBe(true);
	});
});

describe('bytes and text', () => {
	it('round-trip exactly, or are not called text', () => {
		for (const text of ['', 'a\r\nb', '\ufefftext', '\u0000', '🦀', '../<script>']) {
			expect(asText(utf8(text))).toBe(text);
		}
		expect(asText(bytes(0xff, 0x00))).toBeNull();
		expect(asText(bytes(0xf0, 0x9f, 0xa6))).toBeNull();
	});

	it('have one name a key', () => {
		expect(keyId(bytes(0xff, 0x61))).not.toBe(keyId(utf8('\u00ffa')));
		expect(keyId(concat(utf8('a'), utf8('b')))).toBe(keyId(utf8('ab')));
	});
});
