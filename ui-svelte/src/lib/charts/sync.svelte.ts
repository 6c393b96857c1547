// What all charts of a page share: how much time they show. Their crosshair is shared in plot.ts.
import { CHART_RANGES, prefs, type ChartRange } from '$lib/state/prefs.svelte';
import { rangeMs } from './scale';

class Sync {
	get range(): ChartRange {
		return prefs.chartRange;
	}

	/** The next longer (1) or shorter (-1) range, if there is one. */
	step(by: 1 | -1) {
		const at = CHART_RANGES.indexOf(prefs.chartRange) + by;
		prefs.chartRange = CHART_RANGES[at] ?? prefs.chartRange;
	}

	/** What a chart shows whose last second is at `last`. */
	span(last: number): { from: number; to: number } {
		return { from: last - rangeMs(this.range), to: last };
	}
}

export const sync = new Sync();
