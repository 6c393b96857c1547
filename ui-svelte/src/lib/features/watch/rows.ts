/** The last rows of a feed: at most so many, and how many were dropped before them. */

export const ROWS_MAX = 5_000;
/** Rows that may be over before they are dropped together: one by one would move all others each time. */
const SLACK = 500;

export class Rows<T> {
	/** How many were ever added. */
	added = 0;
	#rows: T[] = [];

	constructor(readonly max = ROWS_MAX) {}

	add(rows: readonly T[]): void {
		this.added += rows.length;
		for (const row of rows) this.#rows.push(row);
		if (this.#rows.length > this.max + SLACK) this.#rows = this.#rows.slice(-this.max);
	}

	/** The last ones, oldest first. */
	kept(): readonly T[] {
		return this.#rows.slice(-this.max);
	}

	dropped(): number {
		return Math.max(0, this.added - this.max);
	}

	clear(): void {
		this.#rows = [];
		this.added = 0;
	}
}

/** How often something happened of late. */
export class Rate {
	#seconds: { second: number; count: number }[] = [];

	constructor(readonly windowSeconds = 10) {}

	add(count: number, now: number): void {
		const second = Math.floor(now / 1000);
		const last = this.#seconds.at(-1);
		if (last?.second === second) last.count += count;
		else this.#seconds.push({ second, count });
		this.#seconds = this.#seconds.filter((one) => one.second > second - this.windowSeconds - 1);
	}

	/** Per second, over the whole seconds of the window. */
	at(now: number): number {
		const second = Math.floor(now / 1000);
		const counted = this.#seconds.filter(
			(one) => one.second < second && one.second >= second - this.windowSeconds
		);
		return counted.reduce((sum, one) => sum + one.count, 0) / this.windowSeconds;
	}
}
