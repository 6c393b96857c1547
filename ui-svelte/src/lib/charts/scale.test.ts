import { describe, expect, it } from 'vitest';
import { greatest, indexAt, lastKnown, sampled, summary, ticks } from './scale';

describe('ticks', () => {
	it('are round, begin at 0 and hold the greatest value', () => {
		expect(ticks(18_200)).toEqual([0, 8_000, 16_000, 24_000]);
		expect(ticks(11.2)).toEqual([0, 4, 8, 12]);
		expect(ticks(0.9)).toHaveLength(4);
		for (const max of [0.003, 0.9, 1, 7, 44, 95, 100, 12_345, 999_999]) {
			const all = ticks(max);
			expect(all[0]).toBe(0);
			expect(all[3]).toBeGreaterThanOrEqual(max);
			expect(all[3]).toBeLessThan(max * 3.1);
		}
	});

	it('are whole of what is whole', () => {
		expect(ticks(2, true)).toEqual([0, 1, 2, 3]);
		expect(ticks(0.5)).not.toEqual(ticks(0.5, true));
	});

	it('stand when there is nothing to show', () => {
		expect(ticks(0)).toEqual([0, 1, 2, 3]);
		expect(ticks(Number.NaN)).toEqual([0, 1, 2, 3]);
		expect(ticks(-Infinity)).toEqual([0, 1, 2, 3]);
	});
});

describe('what is known', () => {
	const t = Float64Array.of(1_000, 2_000, 3_000);

	it('is found by its time', () => {
		expect([500, 1_000, 1_999, 3_000, 9_000].map((at) => indexAt(t, at))).toEqual([-1, 0, 0, 2, 2]);
		expect(indexAt(new Float64Array(), 5)).toBe(-1);
	});

	it('leaves gaps out', () => {
		expect(greatest([Float64Array.of(NaN, 3, NaN), Float64Array.of(2)])).toBe(3);
		expect(greatest([])).toBe(0);
		expect(lastKnown(t, Float64Array.of(7, 4, NaN))).toEqual({ value: 4, at: 2_000 });
		expect(lastKnown(t, Float64Array.of(NaN, NaN, NaN))).toBeNull();
	});
});

describe('a table', () => {
	it('shows every second of a few, and those of round times of many', () => {
		const few = Float64Array.of(1_000, 2_000, 3_000);
		expect(sampled(few)).toEqual([2, 1, 0]);
		const many = Float64Array.from({ length: 900 }, (_, i) => 7_000 + i * 1_000);
		const later = Float64Array.from({ length: 900 }, (_, i) => 8_000 + i * 1_000);
		const shown = sampled(many).map((i) => many[i]);
		expect(shown.length).toBeLessThanOrEqual(31);
		expect(
			sampled(later)
				.map((i) => later[i])
				.slice(1, 25)
		).toEqual(shown.slice(1, 25));
		expect(sampled(new Float64Array())).toEqual([]);
	});
});

it('a column is summed up in a sentence', () => {
	const words = (...values: number[]) => summary('writes', Float64Array.from(values), String);
	expect(words(5, 2, 9, 4)).toBe('writes: now 4, lowest 2, highest 9.');
	expect(words(5, NaN)).toBe('writes: now unknown, lowest 5, highest 5.');
	expect(words(NaN)).toBe('writes: unknown.');
});
