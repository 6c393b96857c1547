import type { Cluster } from '$lib/api/types';

/** A cluster's health in a word and a colour; null: not known. */
export function healthMark(cluster: Cluster | null): { word: string; dot: string } {
	switch (cluster?.health) {
		case 'healthy':
			return { word: 'Healthy', dot: 'bg-ok' };
		case 'degraded':
			return { word: 'Degraded', dot: 'bg-warn' };
		case 'no_leader':
			return { word: 'Electing a leader', dot: 'bg-warn' };
		case 'no_quorum':
			return { word: 'No quorum', dot: 'bg-crit' };
		case undefined:
			return { word: 'Unknown', dot: 'bg-peer' };
	}
}

/** Enough of a cluster's id to tell clusters apart. */
export function shortId(id: string): string {
	return id.slice(0, 8);
}
