import { live } from '$lib/live/cluster.svelte';
import type { Seconds } from '$lib/live/series.svelte';
import { sampled } from './sampled';

/** Notes what the ticks do not carry, for as long as the component that calls this is shown. */
export function noteBeside(seconds: () => Seconds): void {
	// Before the charts are drawn with the figures that have just come.
	$effect.pre(() => {
		const { t } = seconds();
		const last = t[t.length - 1];
		if (live.cluster && last !== undefined && !live.stale) {
			sampled.note(last, live.cluster, live.nodes);
		}
	});
}
