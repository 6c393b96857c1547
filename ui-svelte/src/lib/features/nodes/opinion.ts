// Where a node's own view of the cluster differs from the cluster's. Pure.

import type { Cluster, Node, Status } from '$lib/api/types';

/**
 * What a node says of who leads, in a sentence, where that is not what the cluster says. Null when
 * they agree, and when either has nothing to say.
 */
export function disagreement(
	node: Node,
	cluster: Cluster | null,
	nameOf: (id: number | null) => string | null
): string | null {
	if (!cluster?.leader || node.role === null || node.term === null) return null;
	if (node.role === 'leader') {
		return node.id === cluster.leader ? null : `${node.id} says it leads in term ${node.term}`;
	}
	if (node.leader_seen === null) return `${node.id} knows no leader in term ${node.term}`;
	const seen = nameOf(node.leader_seen) ?? `#${node.leader_seen}`;
	return seen === cluster.leader ? null : `${node.id} says ${seen} leads in term ${node.term}`;
}

/** One thing as a node sees it and as the cluster does. */
export interface Comparison {
	label: string;
	own: string;
	cluster: string;
	/** Null where one of them does not know, which is no difference. */
	same: boolean | null;
}

const UNKNOWN = 'unknown';

/** A node's own view beside the cluster's, line by line. */
export function compare(
	status: Status,
	cluster: Cluster,
	nameOf: (id: number | null) => string | null
): Comparison[] {
	const named = (id: number) => nameOf(id) ?? `#${id}`;
	const list = (found: readonly string[]) => [...found].sort(byName).join(', ') || 'none';
	const line = (
		label: string,
		own: string | null | undefined,
		theirs: string | null | undefined
	): Comparison => ({
		label,
		own: own ?? UNKNOWN,
		cluster: theirs ?? UNKNOWN,
		same: own == null || theirs == null ? null : own === theirs
	});
	return [
		line('Leader', status.leader?.name, cluster.leader),
		line('Term', text(status.term), text(cluster.term)),
		line('Voters', list(status.voters.map(named)), list(cluster.voters)),
		line('Learners', list(status.learners.map(named)), list(cluster.learners)),
		line('Membership change', half(status.joint), half(cluster.joint)),
		line('Cluster id', status.cluster_id, cluster.id)
	];
}

const collator = new Intl.Collator('en', { numeric: true });
const byName = (a: string, b: string) => collator.compare(a, b);

function text(value: number | null): string | null {
	return value === null ? null : String(value);
}

function half(joint: boolean | null | undefined): string | null {
	if (joint == null) return null;
	return joint ? 'half done' : 'none';
}
