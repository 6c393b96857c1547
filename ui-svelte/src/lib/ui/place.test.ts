import { describe, expect, it } from 'vitest';
import { place } from './place';

const view = { width: 400, height: 800 };
const size = { width: 180, height: 200 };

describe('the place of a menu', () => {
	it('is below its trigger, flush with an edge of it', () => {
		const anchor = { left: 100, top: 50, width: 200, height: 30 };
		expect(place(anchor, size, view, 'start')).toEqual({ left: 100, top: 84 });
		expect(place(anchor, size, view, 'end')).toEqual({ left: 120, top: 84 });
		expect(place(anchor, size, view, 'center')).toEqual({ left: 110, top: 84 });
	});

	it('is above where there is no room below, and never outside the window', () => {
		const low = { left: 380, top: 700, width: 20, height: 30 };
		expect(place(low, size, view, 'start')).toEqual({ left: 212, top: 496 });
		const left = { left: 0, top: 0, width: 20, height: 30 };
		expect(place(left, size, view, 'end').left).toBe(8);
	});
});
