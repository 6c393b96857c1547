// Where a node's own view of the cluster differs from the cluster's. Pure.

import type { Cluster, Members, Node, Status } from '$lib/api/types';

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

/** Whether a node takes itself for the leader while the cluster has none: no quorum answers it. */
export function isAlone(node: Node, cluster: Cluster | null): boolean {
	return node.role === 'leader' && cluster !== null && cluster.leader === null;
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

/** A member as a node sees it. */
export interface MemberView {
	id: number;
	name: string;
	/** Whether the launcher runs a node of that name. */
	known: boolean;
	itself: boolean;
	membership: string;
	leader: boolean;
	alive: boolean;
	lastHeardMs: number | null;
	applied: number | null;
	/** The leader's alone to say. */
	matched: number | null;
	lag: number | null;
	/** What the cluster and the launcher see instead; null: the same, or not known. */
	others: { membership: string | null; answers: boolean | null };
}

/** The members as a node sees them, and where others see something else. */
export function memberViews(
	status: Status,
	members: Members,
	nodes: readonly Node[]
): MemberView[] {
	return members.members.map((member) => {
		const node = nodes.find(({ id }) => id === member.name);
		const peer = status.peers.find(({ id }) => id === member.id);
		const seen = members.seen.find(({ id }) => id === member.id);
		const itself = member.id === status.node_id;
		const answers = node ? node.role !== null : null;
		const theirs = node?.membership ?? null;
		return {
			id: member.id,
			name: member.name,
			known: node !== undefined,
			itself,
			membership: member.membership,
			leader: member.leader,
			alive: member.alive,
			lastHeardMs: peer?.last_contact_ms ?? seen?.last_heard_ms ?? null,
			applied: member.applied_index,
			matched: itself ? status.last_log_index : (peer?.matched ?? null),
			lag: itself ? 0 : (peer?.lag ?? null),
			others: {
				membership: theirs === member.membership ? null : theirs,
				answers: answers === member.alive || itself ? null : answers
			}
		};
	});
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
