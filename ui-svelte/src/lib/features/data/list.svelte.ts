/**
 * The keys under a prefix, read at one revision, page by page in both directions.
 *
 * Pages are asked for by key and revision, not by cursor: so a list can begin anywhere and go on both
 * ways, and what others write meanwhile moves nothing.
 */
import {
	countKeys,
	getPage,
	type Consistency,
	type Entry,
	type EntryPage,
	type Range
} from '$lib/api/kv';
import type { Read } from './address';
import { isAborted } from './problem';
import { prefixEnd, startsWith, successor, type Bytes } from './range';
import {
	append,
	begin,
	located,
	PAGE_ROWS,
	prepend,
	rowsIn,
	type Moved,
	type Window
} from './window';

/** Bytes of each value that the list shows. */
const PREVIEW_BYTES = 96;

export type Total =
	{ state: 'counting' } | { state: 'known'; count: number } | { state: 'unknown'; error: unknown };

/** Who was asked, and what they showed. */
export interface Source {
	readonly revision: number;
	readonly servedBy: string | null;
	readonly appliedIndex: number | null;
	/** When, by this page's clock. */
	readonly at: number;
}

export const consistencyOf = (read: Read): Consistency =>
	read === 'stale' ? 'local' : 'linearizable';

export class KeyList {
	/** Called when rows come or go above those that stay: by how many they moved. */
	onshift: (rows: number) => void = () => {};

	prefix = $state.raw<Bytes>(new Uint8Array());
	read = $state.raw<Read>('linearizable');
	source = $state.raw<Source | null>(null);
	total = $state.raw<Total>({ state: 'counting' });
	/** The newest revision of the store that was heard of. */
	newest = $state<number | null>(null);
	/** The first page is on its way. */
	loading = $state(true);
	/** Why there are no rows. */
	error = $state.raw<unknown>(null);
	/** Why there are no more rows on one side. */
	moreError = $state.raw<unknown>(null);
	#window = $state.raw<Window<Entry>>(begin([], true, true));
	#more = { before: false, after: false };
	#asked = new AbortController();

	readonly rows = $derived(this.#window.pages.flat());
	readonly atStart = $derived(this.#window.atStart);
	readonly atEnd = $derived(this.#window.atEnd);
	/** How many keys come before the first row; null: nobody knows. */
	readonly offset = $derived(this.#window.offset);

	/** Lists `prefix` from its start, or from `at` on. */
	async open(prefix: Bytes, read: Read, at: Bytes | null = null): Promise<void> {
		const signal = this.#begin();
		this.prefix = prefix;
		this.read = read;
		this.loading = true;
		try {
			const inside = at !== null && startsWith(at, prefix) && at.length > prefix.length;
			const range = inside ? this.#between(at, null) : this.#between(null, null);
			const page = await this.#page(range, false, signal);
			this.#fresh(page);
			this.#window = begin(page.items, !inside, page.next === null);
			void this.#count(signal);
			// A list that begins in its middle shows what comes before, too.
			if (inside && rowsIn(this.#window) < PAGE_ROWS) await this.more('before');
		} catch (error) {
			this.#failed(error, signal);
		} finally {
			if (!signal.aborted) this.loading = false;
		}
	}

	/** Reads anew, at the newest revision, from `at` on. */
	refresh(at: Bytes | null = null): Promise<void> {
		return this.open(this.prefix, this.read, at);
	}

	/** Shows the last keys, of the same revision. */
	async toEnd(): Promise<void> {
		const signal = this.#begin();
		this.loading = true;
		try {
			const page = await this.#page(this.#between(null, null), true, signal, this.source);
			if (this.source === null) this.#fresh(page);
			this.#window = begin([...page.items].reverse(), page.next === null, true);
			if (this.total.state === 'known') {
				this.#window = located(this.#window, this.total.count);
			} else {
				void this.#count(signal);
			}
		} catch (error) {
			this.#failed(error, signal);
		} finally {
			if (!signal.aborted) this.loading = false;
		}
	}

	/** Adds a page on one side, if there is more and none is on its way. */
	async more(side: 'before' | 'after'): Promise<void> {
		const window = this.#window;
		const rows = window.pages.flat();
		const edge = side === 'after' ? rows.at(-1) : rows[0];
		const done = side === 'after' ? window.atEnd : window.atStart;
		if (done || edge === undefined || this.#more[side]) return;
		const signal = this.#asked.signal;
		this.#more[side] = true;
		try {
			const after = side === 'after';
			const range = after
				? this.#between(successor(edge.key), null)
				: this.#between(null, edge.key);
			const page = await this.#page(range, !after, signal, this.source);
			const last = page.next === null;
			this.#move(
				after
					? append(this.#window, page.items, last)
					: prepend(this.#window, [...page.items].reverse(), last)
			);
			this.moreError = null;
		} catch (error) {
			if (!isAborted(error) && !signal.aborted) this.moreError = error;
		} finally {
			if (!signal.aborted) this.#more[side] = false;
		}
	}

	/** Asks how far the store has moved on since the list was read. */
	async look(): Promise<void> {
		const { source } = this;
		if (source === null || this.loading) return;
		const signal = this.#asked.signal;
		const { consistency, node } = this.#freshness(source);
		const query = { prefix: this.prefix, consistency, node, limit: 1, keysOnly: true };
		// A look that fails says nothing: the list itself is as it was.
		const page = await getPage(query, signal).catch(() => null);
		if (page !== null && !signal.aborted) this.newest = page.revision;
	}

	/** What it shows is of no use any more: nobody looks at it. */
	close(): void {
		this.#asked.abort();
	}

	#begin(): AbortSignal {
		this.#asked.abort();
		this.#asked = new AbortController();
		this.#more = { before: false, after: false };
		this.error = null;
		this.moreError = null;
		return this.#asked.signal;
	}

	#fresh({ revision, read }: EntryPage): void {
		const { servedBy, appliedIndex } = read;
		this.source = { revision, servedBy, appliedIndex, at: Date.now() };
		this.newest = revision;
		this.total = { state: 'counting' };
	}

	#failed(error: unknown, signal: AbortSignal): void {
		if (signal.aborted || isAborted(error)) return;
		this.error = error;
		this.source = null;
		this.#window = begin([], true, true);
	}

	#move({ window, shift }: Moved<Entry>): void {
		this.#window = this.total.state === 'known' ? located(window, this.total.count) : window;
		if (shift !== 0) this.onshift(shift);
	}

	/** The keys of the prefix from `start` on and before `end`. */
	#between(start: Bytes | null, end: Bytes | null): Range {
		if (start === null && end === null) return { prefix: this.prefix };
		const from = start ?? this.prefix;
		const to = end ?? prefixEnd(this.prefix);
		return {
			start: from.length > 0 ? from : undefined,
			end: to === null ? undefined : to
		};
	}

	#freshness(source: Source | null) {
		const consistency = consistencyOf(this.read);
		if (source === null) return { consistency } as const;
		// Of stale reads, only the node that showed this revision is known to have it.
		const node = this.read === 'stale' ? (source.servedBy ?? undefined) : undefined;
		return { consistency, revision: source.revision, node } as const;
	}

	#page(
		range: Range,
		reverse: boolean,
		signal: AbortSignal,
		source: Source | null = null
	): Promise<EntryPage> {
		const freshness = this.#freshness(source);
		const query = { ...range, ...freshness, reverse, limit: PAGE_ROWS, preview: PREVIEW_BYTES };
		return getPage(query, signal);
	}

	async #count(signal: AbortSignal): Promise<void> {
		try {
			const query = { prefix: this.prefix, ...this.#freshness(this.source) };
			const { count } = await countKeys(query, signal);
			if (signal.aborted) return;
			this.total = { state: 'known', count };
			this.#window = located(this.#window, count);
		} catch (error) {
			if (!signal.aborted && !isAborted(error)) this.total = { state: 'unknown', error };
		}
	}
}
