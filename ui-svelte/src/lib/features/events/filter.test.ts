import { describe, expect, it } from 'vitest';
import type { Event } from '$lib/api/types';
import { accepts, conditions, filterParams, NO_FILTER, parseFilter, toApi } from './filter';

const parse = (query: string) => parseFilter(new URLSearchParams(query));

describe('the address', () => {
	it('says everything, and comes back the same', () => {
		for (const query of [
			'',
			'kind=crashed%2Cstarted&severity=warning&node=node2&q=a+b&last=1h',
			'since=5&until=9'
		]) {
			expect(filterParams(parse(query)).toString()).toBe(query);
		}
		expect(parse('')).toEqual(NO_FILTER);
	});

	it('may be typed: what does not make sense is left out', () => {
		expect(parse('kind=,&severity=bad&last=toString&since=-1&until=x')).toEqual(NO_FILTER);
		expect(parse('last=1h&since=5')).toEqual({ ...NO_FILTER, last: '1h' });
	});

	it('knows how much of it is set', () => {
		expect(conditions(NO_FILTER)).toBe(0);
		expect(conditions(parse('q=x'))).toBe(0);
		expect(conditions(parse('kind=a,b&since=1&until=2&node=n'))).toBe(3);
	});
});

it('asks the API for a time back from now', () => {
	expect(toApi(parse('last=15m'), 1_000_000)).toMatchObject({ since: 100_000, until: undefined });
	expect(toApi(parse('since=7'), 1_000_000)).toMatchObject({ since: 7 });
	expect(toApi(NO_FILTER, 1)).toEqual({ kinds: [] });
});

describe('accepts', () => {
	const event: Event = {
		id: 7,
		t: 100,
		severity: 'warning',
		kind: 'node_unreachable',
		node: 'node3',
		term: null,
		text: 'node3 does not ANSWER',
		actor: 'node1'
	};

	it('is the rule of the launcher', () => {
		const yes = [
			{},
			{ kinds: [] },
			{ kinds: ['x', 'node_unreachable'] },
			{ severity: 'warning' },
			{ node: 'node3' },
			// Told by it.
			{ node: 'node1' },
			{ q: 'answer' },
			{ since: 100, until: 100 }
		] as const;
		const no = [
			{ kinds: ['joined'] },
			{ severity: 'error' },
			{ node: 'node2' },
			{ q: 'node4' },
			{ since: 101 },
			{ until: 99 }
		] as const;
		expect(yes.map((asked) => accepts(asked, event))).not.toContain(false);
		expect(no.map((asked) => accepts(asked, event))).not.toContain(true);
	});
});
