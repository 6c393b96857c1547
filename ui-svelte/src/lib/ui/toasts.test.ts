import { describe, expect, it } from 'vitest';
import { Toasts } from './toasts.svelte';

describe('toasts', () => {
	it('errors stay until they are closed', () => {
		const toasts = new Toasts();
		expect(toasts.timeout({ tone: 'crit', title: 'Not done' })).toBeNull();
		expect(toasts.timeout({ tone: 'ok', title: 'Done' })).toBeGreaterThan(0);
		expect(toasts.timeout({ tone: 'ok', title: 'Done', timeoutMs: 10 })).toBe(10);
	});

	it('the oldest makes room', () => {
		const toasts = new Toasts();
		for (let n = 0; n < 8; n += 1) toasts.add({ tone: 'info', title: String(n) });
		expect(toasts.list.map(({ title }) => title)).toEqual(['3', '4', '5', '6', '7']);
		toasts.remove(toasts.list[0]?.id ?? 0);
		expect(toasts.list).toHaveLength(4);
	});
});
