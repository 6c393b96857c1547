import { beforeEach, expect, it, vi } from 'vitest';
import { ApiError } from '$lib/api/client';
import { listEvents, type EventFilter } from '$lib/api/events';
import type { Event } from '$lib/api/types';
import { Feed } from './feed.svelte';

vi.mock('$lib/api/events');

const event = (id: number, kind = 'started'): Event => ({
	id,
	t: id,
	severity: 'info',
	kind,
	node: null,
	term: null,
	text: `event ${id}`,
	actor: 'launcher'
});
const events = (from: number, to: number) =>
	Array.from({ length: from - to + 1 }, (_, at) => event(from - at));
const ids = (list: readonly Event[]) => list.map(({ id }) => id);

let pages: { events: Event[]; next: number | null }[];
let asked: EventFilter[];

beforeEach(() => {
	asked = [];
	vi.mocked(listEvents).mockImplementation((filter = {}) => {
		asked.push(filter);
		const page = pages.shift();
		if (page) return Promise.resolve(page);
		return Promise.reject(new ApiError({ status: 0, code: 'unreachable', message: 'no answer' }));
	});
});

async function feed(filter: EventFilter = {}): Promise<Feed> {
	const feed = new Feed(filter);
	await vi.waitFor(() => expect(feed.state).not.toBe('loading'));
	return feed;
}

it('shows older ones by page, to the last', async () => {
	pages = [
		{ events: events(9, 8), next: 8 },
		{ events: events(7, 6), next: null }
	];
	const list = await feed({ node: 'node1' });
	expect(list.more).toBe(true);
	await list.older();
	await list.older();
	expect(ids(list.events)).toEqual([9, 8, 7, 6]);
	expect(list.more).toBe(false);
	expect(asked.map(({ node, before }) => [node, before])).toEqual([
		['node1', undefined],
		['node1', 8]
	]);
});

it('takes in what happens, or keeps it back, each once', async () => {
	pages = [{ events: events(3, 1), next: null }];
	const list = await feed();
	list.offer(events(3, 1), false);
	expect(ids(list.events)).toEqual([3, 2, 1]);
	list.offer(events(4, 1), false);
	expect(ids(list.events)).toEqual([4, 3, 2, 1]);
	list.offer(events(6, 1), true);
	list.offer(events(7, 1), true);
	expect([ids(list.events), ids(list.waiting)]).toEqual([
		[4, 3, 2, 1],
		[7, 6, 5]
	]);
	list.release();
	expect([ids(list.events), ids(list.waiting)]).toEqual([[7, 6, 5, 4, 3, 2, 1], []]);
});

it('takes only what is asked for', async () => {
	pages = [{ events: [], next: null }];
	const list = await feed({ kinds: ['crashed'] });
	list.offer([event(2), event(1)], false);
	list.offer([event(4, 'crashed'), event(3), event(2), event(1)], false);
	expect(ids(list.events)).toEqual([4]);
});

it('asks anew when more has happened than was told', async () => {
	pages = [
		{ events: events(3, 1), next: null },
		{ events: events(20, 1), next: null }
	];
	const list = await feed();
	list.offer(events(20, 11), false);
	await vi.waitFor(() => expect(list.events[0]?.id).toBe(20));
	list.offer(events(21, 12), false);
	expect(ids(list.events)).toEqual(ids(events(21, 1)));
	expect(asked).toHaveLength(2);
});

it('says that it could not be had, and tries again where it stopped', async () => {
	pages = [{ events: events(9, 9), next: 9 }];
	const list = await feed();
	await list.older();
	expect([list.state, list.error?.code]).toEqual(['failed', 'unreachable']);
	pages = [{ events: events(8, 8), next: null }];
	await list.retry();
	expect([list.state, ids(list.events)]).toEqual(['ready', [9, 8]]);
});
