import { expect, it } from 'vitest';
import { Layout } from './layout';

it('finds the row at a place, and the place of a row', () => {
	const heights = [20, 60, 20, 40];
	const layout = new Layout(heights.length, (index) => heights[index] ?? 0);
	expect([layout.count, layout.height]).toEqual([4, 140]);
	expect([0, 1, 2, 3, 4, 9].map((index) => layout.top(index))).toEqual([0, 20, 80, 100, 140, 140]);
	const rows = [-5, 0, 19, 20, 79, 80, 139, 140, 999].map((y) => layout.rowAt(y));
	expect(rows).toEqual([0, 0, 0, 1, 1, 2, 3, 3, 3]);
});

it('of nothing is nothing', () => {
	const layout = new Layout(0, () => 20);
	expect([layout.count, layout.height, layout.rowAt(5), layout.top(3)]).toEqual([0, 0, 0, 0]);
});
