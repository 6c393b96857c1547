// The figures that charts are drawn from, and when to draw them anew.

import { Rings, type ClusterColumn, type NodeColumn } from './rings';

export type { ClusterColumn, NodeColumn } from './rings';

export const RANGES = { '1m': 60, '5m': 300, '15m': 900 } as const;
export type Range = keyof typeof RANGES;

export interface Seconds {
	/** Milliseconds since 1970, oldest first. */
	t: Float64Array;
	/** A value a second; NaN where nobody knows. */
	column: (name: ClusterColumn) => Float64Array;
	nodeColumn: (node: string, name: NodeColumn) => Float64Array;
}

/** Least time between two versions. */
const DRAW_EVERY_MS = 500;

class Series {
	readonly rings = new Rings();
	#version = $state(0);
	#drawn = Number.NEGATIVE_INFINITY;
	#timer: ReturnType<typeof setTimeout> | undefined;
	/** The end of what is shown while painting is paused. */
	#until = Number.POSITIVE_INFINITY;

	/** Moves when there is something new to draw, at most twice a second. */
	get version(): number {
		return this.#version;
	}

	/** The last so many seconds. Reactive: what reads it is run anew with each version. */
	seconds(range: Range | number): Seconds {
		void this.#version;
		const { rings } = this;
		const seconds = typeof range === 'number' ? range : RANGES[range];
		const until = Math.min(this.#until, rings.last);
		const since = until - seconds * 1_000;
		return {
			t: rings.times(since, until),
			column: (name) => rings.cluster(name, since, until),
			nodeColumn: (node, name) => rings.node(node, name, since, until)
		};
	}

	/** Says that there is something new. */
	changed(): void {
		if (Number.isFinite(this.#until) || this.#timer !== undefined) return;
		const wait = Math.max(0, this.#drawn + DRAW_EVERY_MS - performance.now());
		this.#timer = setTimeout(() => this.#draw(), wait);
	}

	pause(): void {
		this.#until = this.rings.last;
		clearTimeout(this.#timer);
		this.#timer = undefined;
	}

	resume(): void {
		this.#until = Number.POSITIVE_INFINITY;
		this.changed();
	}

	#draw(): void {
		this.#timer = undefined;
		this.#drawn = performance.now();
		this.#version += 1;
	}
}

export const series = new Series();
