// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { Rate, Rows } from './rows';

describe('the rows of a feed', () => {
	it('are the last ones, and it is known how many were dropped', () => {
		const rows = new Rows<number>(10);
		for (let i = 0; i < 2_000; i += 3) rows.add([i, i + 1, i + 2]);
		expect(rows.kept()).toHaveLength(10);
		expect(rows.kept().at(-1)).toBe(2_000);
		expect(rows.added).toBe(2_001);
		expect(rows.dropped()).toBe(1_991);
		rows.clear();
		expect([rows.kept(), rows.dropped()]).toEqual([[], 0]);
	});

	it('take many at once', () => {
		const rows = new Rows<number>(10);
		rows.add(Array.from({ length: 200_000 }, (_, i) => i));
		expect(rows.kept()[0]).toBe(199_990);
	});
});

describe('the rate', () => {
	it('is of whole seconds of late', () => {
		const rate = new Rate(10);
		rate.add(5, 1_000);
		rate.add(15, 1_900);
		expect(rate.at(1_950)).toBe(0);
		expect(rate.at(2_000)).toBe(2);
		rate.add(10, 5_500);
		expect(rate.at(6_000)).toBe(3);
		expect(rate.at(20_000)).toBe(0);
	});
});
