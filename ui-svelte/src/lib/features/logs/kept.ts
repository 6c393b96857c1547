// The lines of a log that the page keeps: the newest ones, each with a number that stays its own.
import type { LogLine } from '$lib/api/types';

/** Lines that are kept; older ones are let go. */
export const KEPT_MAX = 20_000;

export type Entry =
	| { id: number; line: LogLine; dropped?: never }
	/** Lines that the launcher left out: how many, or null when nobody knows. */
	| { id: number; line?: never; dropped: number | null };

type Unnumbered = { line: LogLine } | { dropped: number | null };

export class Kept {
	/** Oldest first. A new array whenever it changes. */
	entries: readonly Entry[] = [];
	#next = 1;
	#waiting: Unnumbered[] = [];

	constructor(readonly max: number = KEPT_MAX) {}

	lines(lines: readonly LogLine[]): void {
		for (const line of lines) this.#waiting.push({ line });
	}

	gap(dropped: number | null): void {
		this.#waiting.push({ dropped });
	}

	/** Takes in what has come since the last time; says whether anything has. */
	flush(): boolean {
		if (this.#waiting.length === 0) return false;
		// What would be let go at once is not even numbered in.
		const waiting = this.#waiting.slice(-this.max);
		this.#next += this.#waiting.length - waiting.length;
		this.#waiting = [];
		const came: Entry[] = waiting.map((entry) => ({ id: this.#next++, ...entry }));
		const room = this.max - came.length;
		this.entries = room === 0 ? came : [...this.entries.slice(-room), ...came];
		return true;
	}

	clear(): void {
		this.entries = [];
		this.#waiting = [];
	}
}
