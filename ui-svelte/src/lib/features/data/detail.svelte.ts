/** The key that is open: what it holds, who said so, and whether it has changed since. */
import { getKey, watch, type Change, type Closable, type Entry } from '$lib/api/kv';
import { clock } from '$lib/live/clock.svelte';
import type { Read } from './address';
import { consistencyOf, type Source } from './list.svelte';
import { isAborted } from './problem';
import type { Bytes } from './range';
import { whileSeen } from './seen';

/** Values over this size show their beginning first. */
export const PREVIEW_BYTES = 256 << 10;

export interface Opened {
	readonly entry: Entry;
	readonly value: Bytes;
	/** Bytes of the whole value. */
	readonly size: number;
	/** Whether `value` is all of it. */
	readonly whole: boolean;
}

/** What became of the key after it was read. */
export interface Changed {
	readonly revision: number;
	/** The version it has now; null: it was deleted. */
	readonly version: number | null;
	/** When this page heard of it, by the launcher's clock. */
	readonly at: number;
}

export class OpenKey {
	loading = $state(true);
	/** The rest of a large value is on its way. */
	loadingRest = $state(false);
	/** Null, once loaded: there is no such key. */
	opened = $state.raw<Opened | null>(null);
	source = $state.raw<Source | null>(null);
	error = $state.raw<unknown>(null);
	changed = $state.raw<Changed | null>(null);
	/** The reading that was begun last; it ends without an error, whatever came of it. */
	loaded: Promise<void> = Promise.resolve();
	#asked = new AbortController();
	#watching: Closable | null = null;

	constructor(
		readonly key: Bytes,
		readonly read: Read
	) {}

	/** As a list shows it: with the size of the whole value, whatever of it is loaded. */
	get entry(): Entry | null {
		return this.opened && { ...this.opened.entry, size: this.opened.size };
	}

	/** Reads it anew, at the newest revision. */
	load(): Promise<void> {
		this.loaded = this.#load();
		return this.loaded;
	}

	async #load(): Promise<void> {
		this.#asked.abort();
		this.#asked = new AbortController();
		const signal = this.#asked.signal;
		this.loading = true;
		this.error = null;
		try {
			await this.#get(PREVIEW_BYTES, signal);
			this.changed = null;
			this.#watch();
		} catch (error) {
			if (!signal.aborted && !isAborted(error)) this.error = error;
		} finally {
			if (!signal.aborted) this.loading = false;
		}
	}

	/** Reads all of a large value, of the version that is shown. Returns it, or null if it has changed. */
	async loadRest(): Promise<Bytes | null> {
		const shown = this.opened;
		if (shown === null || shown.whole) return shown?.value ?? null;
		this.loadingRest = true;
		try {
			const found = await getKey(this.key, { consistency: consistencyOf(this.read) });
			const { entry } = found ?? {};
			if (entry?.mod_revision !== shown.entry.mod_revision) {
				await this.load();
				return null;
			}
			const value = entry.value ?? new Uint8Array();
			this.opened = { entry, value, size: value.length, whole: true };
			return value;
		} catch (error) {
			this.error = error;
			return null;
		} finally {
			this.loadingRest = false;
		}
	}

	close(): void {
		this.#asked.abort();
		this.#watching?.close();
		this.#watching = null;
	}

	async #get(preview: number, signal: AbortSignal): Promise<void> {
		const found = await getKey(
			this.key,
			{ consistency: consistencyOf(this.read), preview },
			signal
		);
		if (found === null) {
			this.opened = null;
			this.source = null;
			return;
		}
		const { entry, read } = found;
		const value = entry.value ?? new Uint8Array();
		const size = entry.size ?? value.length;
		this.opened = { entry, value, size, whole: value.length === size };
		const { revision, servedBy, appliedIndex } = read;
		const at = Date.now();
		this.source = { revision: revision ?? entry.mod_revision, servedBy, appliedIndex, at };
	}

	/** Listens for changes from what was read on, so that none in between is missed. */
	#watch(): void {
		this.#watching?.close();
		this.#watching = null;
		if (this.source === null) return;
		const from = this.source.revision + 1;
		const onchange = (revision: number, changes: Change[]) => {
			const last = changes.at(-1);
			if (!last || revision <= (this.opened?.entry.mod_revision ?? 0)) return;
			const version = last.type === 'put' ? last.entry.version : null;
			this.changed = { revision, version, at: clock.now };
		};
		this.#watching = whileSeen(() => watch({ key: this.key, from }, { onchange }));
	}
}
