import { describe, expect, it } from 'vitest';
import { BREAK_AT, lane, laneEnd, laneScale, laneWindow } from './lane';

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

describe('laneScale', () => {
	const node = (id: string, last_log: number | null, lag: number | null = null) => ({
		id,
		last_log,
		committed: last_log === null ? null : last_log - 1,
		lag
	});

	it('is the leader’s, whose head and commits are of one moment', () => {
		const nodes = [node('a', 90, 0), node('b', 95, 2), node('c', null)];
		expect(laneScale({ leader: 'a', committed: 94 }, nodes)).toEqual({ head: 90, committed: 89 });
		const silent = [node('a', null), node('b', 95)];
		expect(laneScale({ leader: 'a', committed: 94 }, silent)).toEqual({ head: 95, committed: 94 });
	});

	it('without a leader is the longest log that is known', () => {
		const nodes = [node('a', 90), node('b', 95), node('c', null)];
		expect(laneScale({ leader: null, committed: 88 }, nodes)).toEqual({ head: 95, committed: 88 });
		expect(laneScale({ leader: null, committed: null }, [])).toEqual({
			head: null,
			committed: null
		});
	});

	it('a log ends where the leader says, else where the node last said', () => {
		expect(laneEnd(node('b', 95, 2), 90, null)).toBe(88);
		expect(laneEnd(node('b', null, 500), 90, 70)).toBe(70);
		expect(laneEnd(node('b', null, 500), 90, null)).toBe(0);
		expect(laneEnd(node('b', 80), 90, 70)).toBe(80);
		expect(laneEnd(node('b', null), 90, 70)).toBe(70);
		expect(laneEnd(node('b', null), 90, null)).toBeNull();
	});
});
