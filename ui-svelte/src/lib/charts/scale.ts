// The numbers along a chart's axes, and what stands in a column of seconds.

import type { ChartRange } from '$lib/state/prefs.svelte';

const MINUTES: Record<ChartRange, number> = { '1m': 1, '5m': 5, '15m': 15 };

export const rangeMs = (range: ChartRange) => MINUTES[range] * 60_000;

/** `5 minutes`, as it stands in sentences. */
export const rangeWords = (range: ChartRange) =>
	range === '1m' ? 'minute' : `${String(MINUTES[range])} minutes`;

const PARTS = 3;

/**
 * Four round numbers from 0 up to at least `max`, for the grid; 0 to 3 when there is nothing. Of what
 * is counted in whole things there are only `whole` ones.
 */
export function ticks(max: number, whole = false): number[] {
	const known = Number.isFinite(max) && max > 0 ? max / PARTS : 1;
	const wanted = whole ? Math.max(1, known) : known;
	const decade = 10 ** Math.floor(Math.log10(wanted));
	const step =
		[1, 2, 4, 5, 8, 10].map((part) => part * decade).find((part) => part >= wanted) ?? wanted;
	return Array.from({ length: PARTS + 1 }, (_, part) => part * step);
}

/** The greatest of what is known; 0 when nothing is. */
export function greatest(columns: readonly Float64Array[]): number {
	let most = 0;
	for (const column of columns) {
		for (const value of column) if (value > most) most = value;
	}
	return most;
}

/** The index of the last second at or before `at`; -1 when there is none. */
export function indexAt(t: Float64Array, at: number): number {
	let low = 0;
	let high = t.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((t[middle] ?? Infinity) <= at) low = middle + 1;
		else high = middle;
	}
	return low - 1;
}

/** The last known value and when it was; null when nothing is known. */
export function lastKnown(
	t: Float64Array,
	values: Float64Array
): { value: number; at: number } | null {
	for (let i = values.length - 1; i >= 0; i--) {
		const value = values[i];
		const at = t[i];
		if (value !== undefined && at !== undefined && !Number.isNaN(value)) return { value, at };
	}
	return null;
}

const TABLE_ROWS = 30;

/**
 * The rows that a table shows of many seconds, newest first. They are of round times, so that those
 * that are shown stay while new ones come.
 */
export function sampled(t: Float64Array, rows = TABLE_ROWS): number[] {
	const first = t[0];
	const last = t[t.length - 1];
	if (first === undefined || last === undefined) return [];
	const step = Math.max(1, Math.ceil((last - first) / 1000 / rows));
	const found: number[] = [];
	let slot = -1;
	t.forEach((at, i) => {
		const own = Math.floor(at / 1000 / step);
		if (own !== slot) found.push(i);
		slot = own;
	});
	return found.reverse();
}

/** A column in a sentence: `writes: now 4,812, lowest 260, highest 5,020.` */
export function summary(
	label: string,
	values: Float64Array,
	format: (value: number) => string
): string {
	const known = values.filter((value) => !Number.isNaN(value));
	if (known.length === 0) return `${label}: unknown.`;
	const last = values[values.length - 1] ?? NaN;
	const now = Number.isNaN(last) ? 'unknown' : format(last);
	let low = Infinity;
	for (const value of known) low = Math.min(low, value);
	return `${label}: now ${now}, lowest ${format(low)}, highest ${format(greatest([known]))}.`;
}
