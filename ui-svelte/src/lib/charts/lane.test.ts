import { describe, expect, it } from 'vitest';
import { BREAK_AT, lane, laneHead, laneWindow } from './lane';

describe('lane', () => {
	it('is full when everything is replicated and committed', () => {
		const all = lane({ end: 5_000, head: 5_000, committed: 5_000, window: 64 });
		expect(all).toEqual({ committed: 100, appended: 100, broken: false });
		const young = lane({ end: 12, head: 12, committed: 12, window: 64 });
		expect(young).toEqual({ committed: 100, appended: 100, broken: false });
	});

	it('tells what is committed from what is only appended', () => {
		const leader = lane({ end: 1_000, head: 1_000, committed: 984, window: 64 });
		expect(leader).toEqual({ committed: 75, appended: 100, broken: false });
		const follower = lane({ end: 968, head: 1_000, committed: 984, window: 64 });
		expect(follower).toEqual({ committed: 50, appended: 50, broken: false });
	});

	it('does not call an entry committed that nobody knows to be', () => {
		const unsure = lane({ end: 1_000, head: 1_000, committed: null, window: 64 });
		expect(unsure).toEqual({ committed: 0, appended: 100, broken: false });
	});

	it('breaks when the lag is beyond the window, and never looks finished then', () => {
		const far = lane({ end: 8_000, head: 16_000, committed: 16_000, window: 64 });
		expect(far?.broken).toBe(true);
		expect(far?.appended).toBeGreaterThan(BREAK_AT);
		const almost = lane({ end: 15_935, head: 16_000, committed: 16_000, window: 64 });
		expect(almost?.broken).toBe(true);
		expect(almost?.appended).toBeLessThan(85);
		expect(lane({ end: 15_936, head: 16_000, committed: 16_000, window: 64 })?.broken).toBe(false);
	});

	it('shows an empty log as empty, and an unknown one not at all', () => {
		expect(lane({ end: 0, head: 40, committed: 40, window: 64 })?.appended).toBe(0);
		expect(lane({ end: 0, head: 0, committed: 0, window: 64 })?.appended).toBe(100);
		expect(lane({ end: null, head: 40, committed: 40, window: 64 })).toBeNull();
		expect(lane({ end: 40, head: null, committed: 40, window: 64 })).toBeNull();
	});

	it('never goes beyond its right end', () => {
		const later = lane({ end: 1_010, head: 1_000, committed: 1_005, window: 64 });
		expect(later).toEqual({ committed: 100, appended: 100, broken: false });
	});
});

describe('laneWindow', () => {
	it('holds the lags that can be held, and lets the others break', () => {
		expect(laneWindow([])).toBe(64);
		expect(laneWindow([0, null, 12])).toBe(64);
		expect(laneWindow([65])).toBe(256);
		expect(laneWindow([3, 900, 80_000])).toBe(1_024);
	});
});

it('the head is the end of the longest log that is known', () => {
	const node = (last_log: number | null, matched: number | null) => ({ last_log, matched });
	expect(laneHead([])).toBeNull();
	expect(laneHead([node(null, null)])).toBeNull();
	expect(laneHead([node(4, 3), node(null, 9), node(7, null)])).toBe(9);
});
