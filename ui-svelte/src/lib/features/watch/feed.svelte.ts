/**
 * What changes under a prefix, as it happens.
 *
 * Invariants: rows are in the order of the store; at most `ROWS_MAX` are kept, and how many were dropped is
 * known; what the server could not tell stands among them as a gap; while it is paused, everything is
 * still received. After a break it goes on behind the last change, so that none is missed.
 */
import type { ApiError } from '$lib/api/client';
import { watch, type Change, type Closable, type Entry } from '$lib/api/kv';
import { whileSeen } from '$lib/features/data/seen';
import { clock } from '$lib/live/clock.svelte';
import { Rate, Rows } from './rows';

export type FeedRow =
	| { id: number; at: number; kind: 'put'; revision: number; key: Uint8Array; entry: Entry }
	| { id: number; at: number; kind: 'delete'; revision: number; key: Uint8Array }
	| { id: number; at: number; kind: 'gap'; from: number; to: number };

export type FeedState =
	| { phase: 'connecting' }
	| { phase: 'live' }
	| { phase: 'broken'; error: ApiError | null; retryAt: number }
	| { phase: 'ended'; error: ApiError | null };

/** How often what is shown is renewed at most: rows may come by the thousand. */
const PAINT_MS = 100;

export class Feed {
	state = $state.raw<FeedState>({ phase: 'connecting' });
	/** What is shown, oldest first. */
	rows = $state.raw<readonly FeedRow[]>([]);
	dropped = $state(0);
	/** Rows that came while it is paused. */
	waiting = $state(0);
	/** Nothing up to this revision is missing. */
	progress = $state<number | null>(null);
	#paused = $state(false);
	#kept = new Rows<FeedRow>();
	#rate = new Rate();
	#next = 0;
	#shown = 0;
	#last: number | null = null;
	#stream: Closable | null = null;
	#painting: ReturnType<typeof setTimeout> | undefined;

	constructor(
		readonly prefix: Uint8Array,
		/** The revision to begin with; null: with what comes from now on. */
		readonly from: number | null
	) {
		this.#last = from === null ? null : from - 1;
	}

	/** Changes a second, of late. */
	get rate(): number {
		return this.#rate.at(clock.now);
	}

	get paused(): boolean {
		return this.#paused;
	}

	set paused(paused: boolean) {
		this.#paused = paused;
		if (!paused) this.#paint();
	}

	start(): () => void {
		this.#stream = whileSeen(() => this.#open());
		return () => {
			this.#stream?.close();
			clearTimeout(this.#painting);
		};
	}

	/** Begins anew with what comes from now on, after it ended. */
	restart(): void {
		this.#stream?.close();
		this.#last = null;
		this.progress = null;
		this.start();
	}

	clear(): void {
		this.#kept.clear();
		this.#shown = 0;
		this.#paint();
	}

	#open(): Closable {
		this.state = { phase: 'connecting' };
		const { prefix } = this;
		const from = this.#last === null ? undefined : this.#last + 1;
		return watch(
			{ prefix, from },
			{
				onopen: () => (this.state = { phase: 'live' }),
				onchange: (revision, changes) => this.#changed(revision, changes),
				onprogress: (revision) => {
					this.#last = revision;
					this.progress = revision;
				},
				onresync: (from, to) => {
					this.#last = to;
					this.#add([{ id: this.#id(), at: clock.now, kind: 'gap', from, to }]);
				},
				onbreak: (error, retryAt) => {
					this.state =
						retryAt === null ? { phase: 'ended', error } : { phase: 'broken', error, retryAt };
				}
			}
		);
	}

	#changed(revision: number, changes: readonly Change[]): void {
		this.#last = revision;
		this.progress = revision;
		this.#rate.add(changes.length, clock.now);
		const at = clock.now;
		this.#add(
			changes.map((change): FeedRow => {
				const id = this.#id();
				return change.type === 'put'
					? { id, at, kind: 'put', revision, key: change.entry.key, entry: change.entry }
					: { id, at, kind: 'delete', revision, key: change.key };
			})
		);
	}

	#id(): number {
		this.#next += 1;
		return this.#next;
	}

	#add(rows: readonly FeedRow[]): void {
		this.#kept.add(rows);
		if (this.#paused) {
			this.waiting = this.#kept.added - this.#shown;
			return;
		}
		this.#painting ??= setTimeout(() => this.#paint(), PAINT_MS);
	}

	#paint(): void {
		clearTimeout(this.#painting);
		this.#painting = undefined;
		if (this.#paused) return;
		this.rows = this.#kept.kept();
		this.dropped = this.#kept.dropped();
		this.#shown = this.#kept.added;
		this.waiting = 0;
	}
}
