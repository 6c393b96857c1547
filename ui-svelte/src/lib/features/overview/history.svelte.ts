// Who led before the page was opened: the stream begins with the latest events of any kind, which may
// not reach back far enough.
import { listEvents } from '$lib/api/events';
import type { Event } from '$lib/api/types';
import { LEADERSHIP_KINDS } from '$lib/charts/timeline';
import { live } from '$lib/live/cluster.svelte';
import { merged } from './figures';

const ASKED = 300;

export class History {
	#older = $state.raw<readonly Event[]>([]);

	/** Newest first: what the stream has told, and elections and the like before that. */
	readonly events = $derived(merged(live.events, this.#older));

	/** Asks for what was before, again whenever the stream has begun anew; call it in an effect. */
	follow(): (() => void) | undefined {
		if (live.connection !== 'live') return;
		const ended = new AbortController();
		// Without it the timeline begins later, and says so.
		listEvents({ kinds: LEADERSHIP_KINDS, limit: ASKED }, ended.signal).then(
			({ events }) => (this.#older = events),
			() => undefined
		);
		return () => ended.abort();
	}
}
