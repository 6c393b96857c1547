import { SvelteMap } from 'svelte/reactivity';
import type { Entry } from '$lib/api/kv';
import { keyId } from './range';

/** The rows that are chosen, by key; they stay chosen while the list moves on. */
export class Selection {
	readonly #entries = new SvelteMap<string, Entry>();
	/** Where a range begins. */
	#anchor: string | null = null;

	get size(): number {
		return this.#entries.size;
	}

	get entries(): Entry[] {
		return [...this.#entries.values()];
	}

	has(entry: Entry): boolean {
		return this.#entries.has(keyId(entry.key));
	}

	toggle(entry: Entry): void {
		const id = keyId(entry.key);
		if (!this.#entries.delete(id)) this.#entries.set(id, entry);
		this.#anchor = id;
	}

	/** Chooses all rows from the one chosen last to `entry`. */
	extend(entry: Entry, rows: readonly Entry[]): void {
		const at = rows.findIndex((row) => keyId(row.key) === keyId(entry.key));
		const from = rows.findIndex((row) => keyId(row.key) === this.#anchor);
		if (from < 0 || at < 0) return this.toggle(entry);
		for (const row of rows.slice(Math.min(from, at), Math.max(from, at) + 1)) {
			this.#entries.set(keyId(row.key), row);
		}
	}

	clear(): void {
		this.#entries.clear();
		this.#anchor = null;
	}
}
