// Where each row of a long list lies when rows are of different heights.

export class Layout {
	/** Where row `i` begins; one more than there are rows: the last is the end of all. */
	readonly #tops: Float64Array;

	constructor(count: number, heightOf: (index: number) => number) {
		this.#tops = new Float64Array(count + 1);
		for (let index = 0, top = 0; index < count; index++) {
			top += heightOf(index);
			this.#tops[index + 1] = top;
		}
	}

	get count(): number {
		return this.#tops.length - 1;
	}

	get height(): number {
		return this.top(this.count);
	}

	top(index: number): number {
		return this.#tops[Math.max(0, Math.min(index, this.count))] ?? 0;
	}

	/** The row at a place; the first above all, the last below all. */
	rowAt(y: number): number {
		let [low, high] = [0, Math.max(0, this.count - 1)];
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if (this.top(middle) <= y) low = middle;
			else high = middle - 1;
		}
		return low;
	}
}
