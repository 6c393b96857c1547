// Which events are asked for: as it stands in the address of the page, as the API is asked, and as
// what comes in live is judged. The last two must agree.
import type { EventFilter } from '$lib/api/events';
import type { Event, Severity } from '$lib/api/types';

export const MINUTE = 60_000;

/** Times back from now that are offered. */
export const SPANS = {
	'15m': { words: 'Last 15 minutes', ms: 15 * MINUTE },
	'1h': { words: 'Last hour', ms: 60 * MINUTE },
	'24h': { words: 'Last 24 hours', ms: 24 * 60 * MINUTE },
	'7d': { words: 'Last 7 days', ms: 7 * 24 * 60 * MINUTE }
} as const;
export type Span = keyof typeof SPANS;

export interface Filter {
	/** None: of any. */
	kinds: string[];
	/** At least this bad. */
	severity: Severity | null;
	node: string | null;
	q: string;
	last: Span | null;
	/** In place of `last`. */
	since: number | null;
	until: number | null;
}

export const NO_FILTER: Filter = {
	kinds: [],
	severity: null,
	node: null,
	q: '',
	last: null,
	since: null,
	until: null
};

const SEVERITIES: readonly Severity[] = ['info', 'warning', 'error'];

function isSpan(value: string | null): value is Span {
	return value !== null && Object.hasOwn(SPANS, value);
}

function moment(value: string | null): number | null {
	return value !== null && /^\d{1,15}$/.test(value) ? Number(value) : null;
}

/** What does not make sense is left out: an address may be typed. */
export function parseFilter(params: URLSearchParams): Filter {
	const last = params.get('last');
	const severity = params.get('severity');
	return {
		kinds: (params.get('kind') ?? '').split(',').filter((kind) => kind !== ''),
		severity: SEVERITIES.find((known) => known === severity) ?? null,
		node: params.get('node') || null,
		q: params.get('q') ?? '',
		last: isSpan(last) ? last : null,
		since: isSpan(last) ? null : moment(params.get('since')),
		until: isSpan(last) ? null : moment(params.get('until'))
	};
}

/** The other way round: what is put behind `?`. */
export function filterParams(filter: Filter): URLSearchParams {
	const params = new URLSearchParams();
	const { kinds, ...others } = filter;
	if (kinds.length > 0) params.set('kind', kinds.join(','));
	for (const [name, value] of Object.entries(others)) {
		if (value !== null && value !== '') params.set(name, String(value));
	}
	return params;
}

/** As the API is asked; `now` is the launcher's time. */
export function toApi(filter: Filter, now: number): EventFilter {
	const { kinds, severity, node, q, last, since, until } = filter;
	const from = last ? now - SPANS[last].ms : since;
	return {
		kinds,
		severity: severity ?? undefined,
		node: node ?? undefined,
		q: q || undefined,
		since: from ?? undefined,
		until: until ?? undefined
	};
}

const rank = (severity: Severity) => SEVERITIES.indexOf(severity);

/** Whether an event is asked for: the launcher's own rule, for what comes in live. */
export function accepts(asked: EventFilter, event: Event): boolean {
	const { kinds = [], severity, node, q, since, until } = asked;
	return (
		(kinds.length === 0 || kinds.includes(event.kind)) &&
		(!severity || rank(event.severity) >= rank(severity)) &&
		(!node || event.node === node || event.actor === node) &&
		(!q || event.text.toLowerCase().includes(q.toLowerCase())) &&
		(since === undefined || event.t >= since) &&
		(until === undefined || event.t <= until)
	);
}

/** How many of its conditions are set, not counting the search. */
export function conditions(filter: Filter): number {
	const { kinds, severity, node, last, since, until } = filter;
	const time = last !== null || since !== null || until !== null;
	return [kinds.length > 0, severity !== null, node !== null, time].filter(Boolean).length;
}

export function sameFilter(a: Filter, b: Filter): boolean {
	return filterParams(a).toString() === filterParams(b).toString();
}
