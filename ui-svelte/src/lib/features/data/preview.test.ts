// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { keyParts, valuePreview } from './preview';
import { utf8 } from './range';

const entry = (value: Uint8Array, size = value.length) => ({
	key: utf8('k'),
	value,
	size,
	create_revision: 1,
	mod_revision: 1,
	version: 1
});

describe('a line of the list', () => {
	it('tells the own part of a key from what it lies in', () => {
		expect(keyParts(utf8('config/feature/x'))).toEqual({ above: 'config/feature/', own: 'x' });
		expect(keyParts(utf8('a/b/'))).toEqual({ above: 'a/', own: 'b/' });
		expect(keyParts(utf8('/'))).toEqual({ above: '', own: '/' });
		expect(keyParts(utf8('../..'))).toEqual({ above: '../', own: '..' });
		expect(keyParts(Uint8Array.of(0x61, 0x2f, 0xff))).toEqual({ above: 'a/', own: '\\xff' });
	});

	it('begins the value, in text or digits, and says that there is more', () => {
		expect(valuePreview(entry(utf8('a\n  b')))).toBe('a b');
		expect(valuePreview(entry(utf8('abc'), 900))).toBe('abc…');
		expect(valuePreview(entry(utf8('')))).toBe('(empty)');
		expect(valuePreview(entry(Uint8Array.of(0xff, 0)))).toBe('0xff 00');
		expect(valuePreview(entry(new Uint8Array(20).fill(0xff)))).toMatch(/ff …$/);
		expect(valuePreview(entry(utf8('é'.repeat(99))))).toBe(`${'é'.repeat(80)}…`);
		expect(valuePreview(entry(utf8(`x${'é'.repeat(99)}`)))).toBe(`x${'é'.repeat(79)}…`);
		expect(valuePreview({ ...entry(utf8('a')), value: null })).toBe('');
	});
});
