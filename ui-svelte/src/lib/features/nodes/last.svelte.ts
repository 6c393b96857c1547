// Where the log of each node ended when it last said so: a node that is gone says nothing, and its
// lane still shows how far it had come.

import { live } from '$lib/live/cluster.svelte';

class LastEnds {
	readonly #ends = new Map<string, number>();

	/** Null where this page has never heard of it. */
	of(name: string): number | null {
		const said = live.node(name)?.last_log ?? null;
		if (said !== null) this.#ends.set(name, said);
		return said ?? this.#ends.get(name) ?? null;
	}
}

export const lastEnds = new LastEnds();
