import type { Seconds } from '$lib/live/series.svelte';
import { describe, expect, it } from 'vitest';
import { combine, groups } from './groups';
import { Sampled } from './sampled';

it('columns are combined out of what is known', () => {
	const columns = [Float64Array.of(1, NaN, NaN), Float64Array.of(2, 5, NaN)];
	expect([...combine(columns, 3, 'sum')]).toEqual([3, 5, NaN]);
	expect([...combine(columns, 3, 'greatest')]).toEqual([2, 5, NaN]);
	expect([...combine([], 2, 'sum')]).toEqual([NaN, NaN]);
});

describe('the charts', () => {
	const seconds: Seconds = {
		t: Float64Array.of(1_000, 2_000),
		column: () => Float64Array.of(7, 8),
		nodeColumn: (node) => (node === 'node1' ? Float64Array.of(1, 2) : Float64Array.of(10, NaN))
	};
	const shown = (by: 'node' | 'all') =>
		groups({ seconds, sampled: new Sampled(), names: ['node1', 'node2'], gaps: [], by }).flatMap(
			(group) => group.charts
		);
	const chart = (by: 'node' | 'all', title: string) =>
		shown(by)
			.find((one) => one.title === title)
			?.series.map(({ label, values }) => [label, ...values]);

	it('are of each node', () => {
		expect(chart('node', 'CPU')).toEqual([
			['node1', 1, 2],
			['node2', 10, NaN]
		]);
	});

	it('are of all together: a sum, or the slowest', () => {
		expect(chart('all', 'CPU')).toEqual([['all nodes', 11, 2]]);
		expect(chart('all', 'Replication lag')).toEqual([['greatest', 10, 2]]);
	});

	it('have names of their own, and columns as long as the time', () => {
		const titles = shown('node').map((one) => one.title);
		expect(new Set(titles).size).toBe(titles.length);
		for (const { series } of shown('node')) {
			for (const { values } of series) expect(values).toHaveLength(2);
		}
	});
});
