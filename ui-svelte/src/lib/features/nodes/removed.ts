import type { Event } from '$lib/api/types';

/** A node is out of the membership first, and then its data is deleted. */
export const REMOVAL_KINDS = ['removed', 'decommissioned'] as const;

export interface RemovedNode {
	name: string;
	at: number;
	text: string;
}

/** The nodes that are no more, latest first, each once; one of that name may have come back. */
export function removedNodes(events: readonly Event[], present: readonly string[]): RemovedNode[] {
	const kinds: readonly string[] = REMOVAL_KINDS;
	const latest = new Map<string, Event>();
	for (const event of events) {
		if (event.node === null || !kinds.includes(event.kind) || present.includes(event.node))
			continue;
		const known = latest.get(event.node);
		if (!known || known.id < event.id) latest.set(event.node, event);
	}
	return [...latest.entries()]
		.map(([name, { t, text }]) => ({ name, at: t, text }))
		.sort((a, b) => b.at - a.at);
}
