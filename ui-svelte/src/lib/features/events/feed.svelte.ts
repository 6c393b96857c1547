// The events that a list shows: pages of older ones as they are asked for, new ones as they happen.
import { ApiError } from '$lib/api/client';
import { listEvents, type EventFilter } from '$lib/api/events';
import type { Event } from '$lib/api/types';
import { accepts } from './filter';

const PAGE = 200;

export class Feed {
	/** Newest first. */
	events = $state.raw<readonly Event[]>([]);
	/** What came in while the reader was further down; newest first. */
	waiting = $state.raw<readonly Event[]>([]);
	state = $state<'loading' | 'ready' | 'failed'>('loading');
	error = $state.raw<ApiError | null>(null);
	/** Whether there are older ones. */
	more = $state(false);

	#asked: EventFilter;
	#next: number | null = null;
	#busy = false;
	/** The newest that was told live, wanted or not. */
	#told = 0;
	#closed = new AbortController();

	constructor(asked: EventFilter) {
		this.#asked = asked;
		void this.reload();
	}

	/** Asks anew, from the newest on. */
	async reload(): Promise<void> {
		this.#next = null;
		await this.#load();
	}

	/** Asks for the next page of older ones, if there is one. */
	async older(): Promise<void> {
		if (this.#next !== null && this.state === 'ready') await this.#load();
	}

	/** Asks again for what could not be had. */
	async retry(): Promise<void> {
		await this.#load();
	}

	close(): void {
		this.#closed.abort();
	}

	async #load(): Promise<void> {
		if (this.#busy) return;
		this.#busy = true;
		const before = this.#next ?? undefined;
		try {
			const { signal } = this.#closed;
			const page = await listEvents({ ...this.#asked, before, limit: PAGE }, signal);
			this.events = before === undefined ? page.events : [...this.events, ...page.events];
			if (before === undefined) this.waiting = [];
			this.#next = page.next;
			this.more = page.next !== null;
			this.error = null;
			this.state = 'ready';
		} catch (error) {
			if (this.#closed.signal.aborted) return;
			if (!(error instanceof ApiError)) throw error;
			this.error = error;
			this.state = 'failed';
		} finally {
			this.#busy = false;
		}
	}

	/** Takes what was told live, newest first; `hold` keeps it back until `release`. */
	offer(told: readonly Event[], hold: boolean): void {
		const newest = told[0];
		if (this.state === 'loading' || this.#busy || !newest) return;
		const known = this.waiting[0]?.id ?? this.events[0]?.id ?? 0;
		// More has happened than was told: what lies between must be asked for.
		const gap = (told.at(-1)?.id ?? 0) > Math.max(known, this.#told) + 1;
		this.#told = Math.max(this.#told, newest.id);
		if (gap) {
			void this.reload();
			return;
		}
		const fresh = told.filter((event) => event.id > known && accepts(this.#asked, event));
		if (fresh.length === 0) return;
		this.waiting = [...fresh, ...this.waiting];
		if (!hold) this.release();
	}

	/** Shows what was kept back. */
	release(): void {
		if (this.waiting.length === 0) return;
		this.events = [...this.waiting, ...this.events];
		this.waiting = [];
	}
}
