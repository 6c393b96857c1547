import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Event } from '$lib/api/types';
import { Announcer, APART_MS } from './announcer';
import { newErrors } from './errors-seen.svelte';
import { isWithin } from './pages';

describe('the announcer', () => {
	beforeEach(() => void vi.useFakeTimers());
	afterEach(() => void vi.useRealTimers());

	it('says the first at once, and then the latest, no more than one in five seconds', () => {
		const said: string[] = [];
		const announcer = new Announcer((text) => said.push(text));
		announcer.announce('a');
		vi.advanceTimersByTime(1);
		announcer.announce('b');
		announcer.announce('c');
		vi.advanceTimersByTime(APART_MS - 10);
		expect(said).toEqual(['a']);
		vi.advanceTimersByTime(10);
		expect(said).toEqual(['a', 'c']);
	});
});

describe('the navigation', () => {
	it('a page holds those below it, and Overview only itself', () => {
		expect(isWithin('/nodes', '/nodes/node1/logs')).toBe(true);
		expect(isWithin('/nodes', '/nodesome')).toBe(false);
		expect(isWithin('/', '/nodes')).toBe(false);
	});

	it('counts errors that were not seen', () => {
		const event = (id: number, severity: Event['severity']) => ({ id, severity }) as Event;
		const events = [event(4, 'error'), event(3, 'info'), event(2, 'error')];
		expect(newErrors(events, 0)).toBe(2);
		expect(newErrors(events, 2)).toBe(1);
	});
});
