// How many errors happened since the Events page was looked at.

import type { Event } from '$lib/api/types';
import { store, stored } from '$lib/state/stored';

const NAME = 'events-seen';

/** The errors among `events` that are newer than the event `seen`. */
export function newErrors(events: readonly Event[], seen: number): number {
	return events.filter((event) => event.severity === 'error' && event.id > seen).length;
}

class ErrorsSeen {
	#seen = $state<number | null>(Number(stored(NAME)) || null);

	/** Takes everything up to the newest of `events` as seen. */
	see(events: readonly Event[]): void {
		const newest = events[0]?.id;
		if (newest === undefined || newest === this.#seen) return;
		this.#seen = newest;
		store(NAME, String(newest));
	}

	/** Whoever comes for the first time has missed nothing; nor has who comes to another cluster. */
	begin(events: readonly Event[]): void {
		const newest = events[0]?.id ?? 0;
		if (this.#seen === null || this.#seen > newest) this.see(events);
	}

	count(events: readonly Event[]): number {
		return this.#seen === null ? 0 : newErrors(events, this.#seen);
	}
}

export const errorsSeen = new ErrorsSeen();
