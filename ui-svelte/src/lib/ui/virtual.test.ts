import { describe, expect, it } from 'vitest';
import { physical, reveal, rows, scrolled, settle, TALLEST, toScrollTop, toTop } from './virtual';

const ROW = 36;
const VIEW = 700;
const million = { length: 1_000_000 * ROW, view: VIEW };
const short = { length: 100 * ROW, view: VIEW };
const farthest = million.length - VIEW;
const lowest = TALLEST - VIEW;

describe('the virtual list', () => {
	it('is never taller than a browser allows, and draws few rows', () => {
		expect(physical(million.length)).toBe(TALLEST);
		expect(physical(short.length)).toBe(3600);
		const { from, to } = rows(500_000 * ROW, VIEW, ROW, 1_000_000);
		expect(to - from).toBeLessThan(40);
		expect(rows(0, VIEW, ROW, 3)).toEqual({ from: 0, to: 3 });
		expect(rows(0, VIEW, ROW, 0)).toEqual({ from: 0, to: 0 });
	});

	it('maps both ends exactly and grows in between', () => {
		expect(toTop(0, million)).toBe(0);
		expect(toTop(lowest, million)).toBe(farthest);
		expect(toTop(5_000, million)).toBe(5_000);
		expect(toTop(lowest - 5_000, million)).toBe(farthest - 5_000);
		let last = -1;
		for (let at = 0; at <= lowest; at += 1_234_567) {
			const top = toTop(at, million);
			expect(top).toBeGreaterThan(last);
			expect(toScrollTop(top, million)).toBeCloseTo(at, 3);
			last = top;
		}
	});

	it('is an ordinary list while it is short', () => {
		for (const at of [0, 17, 2_900]) expect(toTop(at, short)).toBe(at);
		expect(scrolled({ top: 0, scrollTop: 0 }, 90, short)).toEqual({ top: 90, scrollTop: 90 });
	});

	it('moves row by row in the middle, and jumps where the scrollbar is dragged to', () => {
		const start = settle({ top: farthest / 2, scrollTop: 0 }, million);
		const moved = scrolled(start, start.scrollTop + 100, million);
		expect(moved.top - start.top).toBeCloseTo(100, 5);
		const jumped = scrolled(start, 1_000_000, million);
		expect(jumped.top).toBe(toTop(1_000_000, million));
	});

	it('takes the drift back without moving a row', () => {
		let place = settle({ top: farthest / 2, scrollTop: 0 }, million);
		for (let n = 0; n < 50; n += 1) place = scrolled(place, place.scrollTop + 100, million);
		const settled = settle(place, million);
		expect(settled.top).toBe(place.top);
		expect(toTop(settled.scrollTop, million)).toBeCloseTo(place.top, 3);
	});

	it('passes every row on the way to the end, however long one scrolls', () => {
		let place = settle({ top: farthest - 400_000, scrollTop: 0 }, million);
		for (let n = 0; n < 10_000 && place.top < farthest; n += 1) {
			const before = place.top;
			const to = Math.min(place.scrollTop + 120, lowest);
			place = scrolled(place, to, million);
			expect(place.top - before).toBeLessThan(2 * VIEW);
		}
		expect(place.top).toBe(farthest);
	});

	it('reveals a row by moving no farther than needed', () => {
		expect(reveal(0, 500, ROW, short)).toBe(0);
		expect(reveal(15, 0, ROW, short)).toBe(0);
		expect(reveal(30, 0, ROW, short)).toBe(31 * ROW - VIEW);
		expect(reveal(999_999, 0, ROW, million, 'end')).toBe(farthest);
		expect(reveal(50, 0, ROW, short, 'start')).toBe(50 * ROW);
	});
});
