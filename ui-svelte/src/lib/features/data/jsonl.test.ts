// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { BATCH_BYTES, BATCH_PAIRS, Batcher, Lines, parseLine, type Pair } from './jsonl';
import { utf8 } from './range';

const pair = (key: string, value = ''): Pair => ({ key: utf8(key), value: utf8(value) });

describe('a line of JSON', () => {
	it('is a pair, in text or base64, whatever else it has', () => {
		expect(parseLine('{"key":"a/ü","value":"","mod_revision":3,"version":1}')).toEqual({
			kind: 'pair',
			pair: pair('a/ü')
		});
		const line = '{"key":"/w==","key_encoding":"base64","value":"AP8=","encoding":"base64"}\r';
		expect(parseLine(line)).toEqual({
			kind: 'pair',
			pair: { key: Uint8Array.of(255), value: Uint8Array.of(0, 255) }
		});
		expect(parseLine('  ')).toEqual({ kind: 'blank' });
	});

	it('is wrong with a reason', () => {
		const reasons: [string, string][] = [
			['{"key":"a"', 'is no JSON'],
			['["a","b"]', 'is no object'],
			['null', 'is no object'],
			['{"value":"b"}', 'has no “key”'],
			['{"key":"a"}', 'has no “value”'],
			['{"key":"","value":"b"}', 'has an empty key'],
			['{"key":"a","value":1}', 'has a “value” that is no text'],
			['{"key":"a","value":"?","encoding":"base64"}', 'has a “value” that is no base64'],
			['{"key":"a","value":"b","encoding":"hex"}', 'has an unknown “encoding”'],
			['{"key":"\\ud800","value":"b"}', 'has a “key” with half a character']
		];
		for (const [line, reason] of reasons)
			expect(parseLine(line)).toEqual({ kind: 'wrong', reason });
	});
});

describe('batches', () => {
	it('hold as many pairs as a transaction takes, in order', () => {
		const batcher = new Batcher();
		const batches: (readonly Pair[])[] = [];
		for (let i = 0; i < BATCH_PAIRS * 2 + 1; i += 1) {
			const full = batcher.add(pair(`k${i}`));
			if (full) batches.push(full);
		}
		batches.push(batcher.take());
		expect(batches.map((batch) => batch.length)).toEqual([BATCH_PAIRS, BATCH_PAIRS, 1]);
		expect(batches.flat().map((one) => one.key.length > 0)).not.toContain(false);
	});

	it('end before a key that they have already, and before they are too large', () => {
		const batcher = new Batcher();
		expect(batcher.add(pair('a', '1'))).toBeNull();
		expect(batcher.add(pair('a', '2'))).toEqual([pair('a', '1')]);
		const large = { key: utf8('b'), value: new Uint8Array(BATCH_BYTES) };
		expect(batcher.add(large)).toEqual([pair('a', '2')]);
		expect(batcher.add(pair('c'))).toEqual([large]);
		expect(batcher.take()).toEqual([pair('c')]);
		expect(batcher.take()).toEqual([]);
	});
});

describe('lines', () => {
	it('are put together from parts', () => {
		const lines = new Lines();
		expect(lines.add('a\nb')).toEqual(['a']);
		expect(lines.add('c\n\nd')).toEqual(['bc', '']);
		expect(lines.end()).toEqual(['d']);
		expect(lines.end()).toEqual([]);
	});
});
