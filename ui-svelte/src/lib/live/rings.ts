// The figures of the last hour, a row a second, in typed arrays: what charts are drawn from.

import type { Tick } from '../api/types';

export const ROWS_MAX = 3_600;

/** Beyond this, between two ticks, the line is broken: nobody knows what was there. */
const GAP_MS = 2_500;

/** So far the clock of ticks that were told in order may go back. */
const SET_BACK_MS = 5_000;

export const CLUSTER_COLUMNS = [
	'reads',
	'writes',
	'errors',
	'write_p50_ms',
	'write_p99_ms',
	'read_p99_ms'
] as const;
export const NODE_COLUMNS = ['lag', 'cpu', 'rss', 'log_bytes'] as const;

export type ClusterColumn = (typeof CLUSTER_COLUMNS)[number];
export type NodeColumn = (typeof NODE_COLUMNS)[number];

export interface RingsDump {
	t: Float64Array;
	columns: Map<string, Float64Array>;
}

const nodeKey = (node: string, column: NodeColumn) => `${node}/${column}`;
const unknown = (value: number | null | undefined) => value ?? Number.NaN;

export class Rings {
	// Twice as long as what is kept, so that rows are moved once in an hour and not every second.
	private t = new Float64Array(2 * ROWS_MAX);
	private columns = new Map<string, Float64Array>();
	private from = 0;
	private to = 0;

	/** When the last row is of; NaN: there is none. */
	get last(): number {
		return this.to > this.from ? (this.t[this.to - 1] as number) : Number.NaN;
	}

	/** Takes in ticks, oldest first; those that are known already are passed over. */
	take(ticks: readonly Tick[]): void {
		// The launcher's clock was set back: what is called later than now is of no use.
		const newest = ticks.at(-1);
		if (newest && newest.t < this.last - SET_BACK_MS) this.clear();
		for (const tick of ticks) if (!(tick.t <= this.last)) this.push(tick);
	}

	private push(tick: Tick): void {
		if (tick.t - this.last > GAP_MS) this.row(this.last + 1_000);
		const at = this.row(tick.t);
		for (const column of CLUSTER_COLUMNS) this.column(column)[at] = unknown(tick[column]);
		for (const [node, figures] of Object.entries(tick.nodes)) {
			for (const column of NODE_COLUMNS) {
				this.column(nodeKey(node, column))[at] = unknown(figures[column]);
			}
		}
	}

	clear(): void {
		this.from = this.to = 0;
		this.columns.clear();
	}

	/** The rows after `since` up to `until`, oldest first; copies, which stay as they are. */
	times(since: number, until: number): Float64Array {
		return this.t.slice(this.after(since), this.after(until));
	}

	cluster(column: ClusterColumn, since: number, until: number): Float64Array {
		return this.values(column, since, until);
	}

	node(node: string, column: NodeColumn, since: number, until: number): Float64Array {
		return this.values(nodeKey(node, column), since, until);
	}

	/** All of it, for another tab. */
	dump(): RingsDump {
		const cut = (all: Float64Array) => all.slice(this.from, this.to);
		const columns = [...this.columns].map(([name, all]) => [name, cut(all)] as const);
		return { t: cut(this.t), columns: new Map(columns) };
	}

	load(dump: RingsDump): void {
		this.clear();
		this.t.set(dump.t);
		this.to = dump.t.length;
		for (const [name, values] of dump.columns) this.column(name).set(values);
	}

	private values(key: string, since: number, until: number): Float64Array {
		const [start, end] = [this.after(since), this.after(until)];
		return this.columns.get(key)?.slice(start, end) ?? new Float64Array(end - start).fill(NaN);
	}

	/** The first row that is later than `t`. */
	private after(t: number): number {
		let [low, high] = [this.from, this.to];
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.t[middle] as number) > t) high = middle;
			else low = middle + 1;
		}
		return low;
	}

	private column(key: string): Float64Array {
		let column = this.columns.get(key);
		if (!column) {
			column = new Float64Array(2 * ROWS_MAX).fill(Number.NaN);
			this.columns.set(key, column);
		}
		return column;
	}

	/** Appends a row in which nothing is known yet. */
	private row(t: number): number {
		if (this.to === 2 * ROWS_MAX) this.compact();
		const at = this.to++;
		this.t[at] = t;
		for (const column of this.columns.values()) column[at] = Number.NaN;
		this.from = Math.max(this.from, this.to - ROWS_MAX);
		return at;
	}

	private compact(): void {
		for (const [key, column] of this.columns) {
			column.copyWithin(0, this.from, this.to);
			// A node that was gone for the whole hour is forgotten.
			const kept = column.subarray(0, this.to - this.from);
			if (key.includes('/') && kept.every(Number.isNaN)) this.columns.delete(key);
		}
		this.t.copyWithin(0, this.from, this.to);
		this.to -= this.from;
		this.from = 0;
	}
}
