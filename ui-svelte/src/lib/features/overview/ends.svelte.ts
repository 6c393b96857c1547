// Where the logs of nodes ended when that was last known: a node that is down says nothing, and
// without a leader nobody says it for them.
import type { Node } from '$lib/api/types';

export class LogEnds {
	#known = $state.raw<Readonly<Record<string, number>>>({});

	of(name: string): number | null {
		return this.#known[name] ?? null;
	}

	note(nodes: readonly Node[]) {
		const known: Record<string, number> = {};
		for (const { id, matched, last_log } of nodes) {
			const end = matched ?? last_log ?? this.#known[id];
			if (end !== undefined) known[id] = end;
		}
		this.#known = known;
	}
}
