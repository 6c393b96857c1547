// How many keys there are. Counting walks over all of them, so it is asked for seldom, and the answer
// is shown with its age.
import { untrack } from 'svelte';
import type { Consistency } from '$lib/api/kv';
import { live } from '$lib/live/cluster.svelte';
import { clock } from '$lib/live/clock.svelte';

const EVERY_MS = 15_000;
/** A count that took long is repeated more seldom: at most a twentieth of the time goes into it. */
const REST = 20;
const KEPT = 240;

export interface Counted {
	count: number;
	revision: number;
	at: number;
	consistency: Consistency;
}

export class Keys {
	/** The last answer; null: none yet. */
	last = $state.raw<Counted | null>(null);
	/** The counts since the page was opened. */
	counts = $state.raw(new Float64Array());
	/** Why the last question had no answer. */
	error = $state<string | null>(null);

	/** Counts now and then until the answer is called. */
	start(): () => void {
		let timer: ReturnType<typeof setTimeout> | undefined;
		const ended = new AbortController();
		const ask = async () => {
			const began = performance.now();
			if (!document.hidden && !live.paused) await this.#count(ended.signal);
			if (ended.signal.aborted) return;
			const took = performance.now() - began;
			timer = setTimeout(() => void ask(), Math.max(EVERY_MS, took * REST));
		};
		untrack(() => void ask());
		return () => {
			clearTimeout(timer);
			ended.abort();
		};
	}

	async #count(signal: AbortSignal) {
		// Without a leader only what one node has is there to be counted.
		const led = live.cluster === null || live.cluster.leader !== null;
		const consistency: Consistency = led ? 'linearizable' : 'local';
		try {
			// Not needed for the first picture, so not part of what has to be loaded for it.
			const { countKeys } = await import('$lib/api/kv');
			const { count, revision } = await countKeys({ consistency }, signal);
			this.last = { count, revision, at: clock.now, consistency };
			this.counts = Float64Array.from([...this.counts.slice(1 - KEPT), count]);
			this.error = null;
		} catch (error) {
			if (!signal.aborted) this.error = error instanceof Error ? error.message : String(error);
		}
	}
}
