// The path of a small line without axes.

export interface SparkPaths {
	line: string;
	area: string;
}

const POINTS = 60;

/** At most 60 means of neighbours; a stretch of which nothing is known stays a gap. */
export function thin(values: Float64Array, points = POINTS): Float64Array {
	if (values.length <= points) return values;
	const thinned = new Float64Array(points);
	for (let i = 0; i < points; i++) {
		const from = Math.floor((i * values.length) / points);
		const to = Math.floor(((i + 1) * values.length) / points);
		let sum = 0;
		let known = 0;
		for (const value of values.subarray(from, to)) {
			if (Number.isNaN(value)) continue;
			sum += value;
			known += 1;
		}
		thinned[i] = known === 0 ? NaN : sum / known;
	}
	return thinned;
}

/** The line and the area below it, within `width` and `height`; a gap breaks both. */
export function sparkPaths(values: Float64Array, width: number, height: number): SparkPaths {
	const thinned = thin(values);
	const known = thinned.filter((value) => !Number.isNaN(value));
	const low = Math.min(...known);
	const span = Math.max(...known) - low;
	const pad = 3;
	const x = (i: number) => ((i / Math.max(1, thinned.length - 1)) * width).toFixed(1);
	// What never changes runs along the bottom: a line in the middle would look like half of something.
	const y = (value: number) =>
		(height - pad - (span === 0 ? 0 : ((value - low) / span) * (height - 2 * pad))).toFixed(1);

	let line = '';
	let area = '';
	let begun: number | null = null;
	const close = (end: number) => {
		if (begun !== null) area += `L${x(end)},${String(height)}L${x(begun)},${String(height)}Z`;
		begun = null;
	};
	thinned.forEach((value, i) => {
		if (Number.isNaN(value)) return close(i - 1);
		const point = `${begun === null ? 'M' : 'L'}${x(i)},${y(value)}`;
		line += point;
		area += point;
		begun ??= i;
		// A lone point has no length; a round cap shows one that has a little.
		if (Number.isNaN(thinned[i - 1] ?? NaN) && Number.isNaN(thinned[i + 1] ?? NaN)) line += 'h0.1';
	});
	close(thinned.length - 1);
	return { line, area };
}
