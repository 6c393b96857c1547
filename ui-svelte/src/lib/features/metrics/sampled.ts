// What the ticks do not carry, noted beside them once a second while the page is open: a few fields
// of the nodes. Before that nobody wrote them down, so the charts of these begin then.
import type { Cluster, Node } from '$lib/api/types';

export const SAMPLED = ['sync_p99_ms', 'probe_rtt_ms', 'disk'] as const;
export type SampledField = (typeof SAMPLED)[number];

const KEPT = 900;

interface Sample {
	committed: number | null;
	nodes: ReadonlyMap<string, Readonly<Record<SampledField, number | null>>>;
}

export class Sampled {
	/** By the time of the tick beside which they were noted, oldest first. */
	readonly #samples = new Map<number, Sample>();

	/** Notes how things are beside the tick of `t`, once. */
	note(t: number, cluster: Cluster, nodes: readonly Node[]) {
		if (this.#samples.has(t)) return;
		this.#samples.set(t, {
			committed: cluster.committed,
			nodes: new Map(
				nodes.map(({ id, sync_p99_ms, probe_rtt_ms, disk }) => [
					id,
					{ sync_p99_ms, probe_rtt_ms, disk }
				])
			)
		});
		for (const old of this.#samples.keys()) {
			if (this.#samples.size <= KEPT) break;
			this.#samples.delete(old);
		}
	}

	/** A field of a node at each of these times. */
	column(t: Float64Array, node: string, field: SampledField): Float64Array {
		return t.map((at) => this.#samples.get(at)?.nodes.get(node)?.[field] ?? NaN);
	}

	/** Entries committed a second, between each of these times and the one before. */
	commits(t: Float64Array): Float64Array {
		return t.map((at, i) => {
			const before = t[i - 1];
			if (before === undefined) return NaN;
			const then = this.#samples.get(before)?.committed;
			const now = this.#samples.get(at)?.committed;
			// It may go back when nobody knows of the newest: that is no rate.
			if (then == null || now == null || now < then) return NaN;
			return ((now - then) / (at - before)) * 1_000;
		});
	}
}

export const sampled = new Sampled();
