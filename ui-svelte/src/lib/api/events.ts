// What happened, from the launcher's files.

import { raw, request, type Query } from './client';
import type { Event, Severity } from './types';

export interface EventFilter {
	kinds?: readonly string[] | undefined;
	/** At least this bad. */
	severity?: Severity | undefined;
	node?: string | undefined;
	/** In its text. */
	q?: string | undefined;
	since?: number | undefined;
	until?: number | undefined;
	/** Older than the event of this number: `next` of the page before. */
	before?: number | undefined;
	limit?: number | undefined;
}

export interface EventPage {
	/** Newest first. */
	events: Event[];
	/** What `before` is for the next page; null: this was the last. */
	next: number | null;
}

const PATH = '/api/v1/events';

function queryOf({ kinds, ...rest }: EventFilter): Query {
	return { kind: kinds && kinds.length > 0 ? kinds.join(',') : undefined, ...rest };
}

export const listEvents = (filter: EventFilter = {}, signal?: AbortSignal) =>
	request<EventPage>('GET', PATH, { query: queryOf(filter), signal });

/** All that the filter finds, a JSON document a line. A link cannot ask for that: it takes a header. */
export async function exportEvents(filter: EventFilter = {}): Promise<Blob> {
	const headers = { accept: 'application/x-ndjson' };
	const response = await raw('GET', PATH, { query: queryOf(filter), headers });
	return response.blob();
}
