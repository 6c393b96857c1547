// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { append, begin, located, PAGES_MAX, prepend, visible } from './window';

const page = (from: number, rows = 3) => Array.from({ length: rows }, (_, i) => from + i);

describe('the window of a long list', () => {
	it('grows at its end, then drops its first page and says by how much the rows move', () => {
		let window = begin(page(0), true, false);
		for (let i = 1; i < PAGES_MAX; i += 1) {
			const moved = append(window, page(i * 3), false);
			expect(moved.shift).toBe(0);
			window = moved.window;
		}
		expect(window.atStart).toBe(true);
		const moved = append(window, page(PAGES_MAX * 3), true);
		expect(moved.shift).toBe(-3);
		expect(moved.window.pages).toHaveLength(PAGES_MAX);
		expect(moved.window.pages.flat()[0]).toBe(3);
		expect(moved.window).toMatchObject({ atStart: false, atEnd: true, offset: 3 });
	});

	it('grows at its start, and forgets that it had reached the end when it drops the last page', () => {
		let window = begin(page(100), false, true);
		for (let i = 1; i < PAGES_MAX; i += 1) {
			const moved = prepend(window, page(100 - i * 3), false);
			expect(moved.shift).toBe(3);
			window = moved.window;
		}
		expect(window.atEnd).toBe(true);
		const moved = prepend(window, page(0, 2), true);
		expect(moved.shift).toBe(2);
		expect(moved.window).toMatchObject({ atStart: true, atEnd: false });
		expect(moved.window.pages.flat().at(-1)).toBe(99);
	});

	it('knows how many rows lie before it only when it came from an end', () => {
		const jumped = begin(page(50), false, false);
		expect(jumped.offset).toBeNull();
		expect(append(jumped, page(53), false).window.offset).toBeNull();
		expect(prepend(jumped, page(47), true).window.offset).toBe(0);
		expect(located(jumped, 90).offset).toBeNull();
		const last = located(begin(page(87), false, true), 90);
		expect(last.offset).toBe(87);
		expect(prepend(last, page(84), false).window.offset).toBe(84);
	});

	it('learns from an empty page that there is no more', () => {
		const window = begin(page(0), false, false);
		expect(append(window, [], true).window).toMatchObject({ atEnd: true, pages: [page(0)] });
		expect(prepend(window, [], true).window).toMatchObject({ atStart: true, pages: [page(0)] });
		expect(begin([], true, true).pages).toEqual([]);
	});

	it('draws what is in view and a little more, never beyond its ends', () => {
		expect(visible(0, 360, 36, 2000, 8)).toEqual([0, 19]);
		expect(visible(36_000, 360, 36, 2000, 8)).toEqual([992, 1019]);
		expect(visible(71_640, 360, 36, 2000, 8)).toEqual([1982, 2000]);
		expect(visible(-50, 0, 36, 0, 8)).toEqual([0, 0]);
		expect(visible(99_999, 360, 36, 5, 8)).toEqual([5, 5]);
	});
});
