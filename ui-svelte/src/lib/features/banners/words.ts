// What the banners say.

import type { Cluster, Node } from '$lib/api/types';

/** `a`, `a or b`, `a, b or c`. */
export function list(names: readonly string[], last: 'or' | 'and'): string {
	if (names.length < 2) return names.join('');
	return `${names.slice(0, -1).join(', ')} ${last} ${names.at(-1)}`;
}

/** The voters that do not answer. */
export function missing(cluster: Cluster, nodes: readonly Node[]): string[] {
	return cluster.voters.filter(
		(name) => nodes.find((node) => node.id === name)?.state !== 'running'
	);
}

/** Which nodes to bring back for a quorum. */
export function remedy(cluster: Cluster, nodes: readonly Node[]): string {
	const names = missing(cluster, nodes);
	const need = cluster.quorum - cluster.online;
	if (names.length === 0 || need < 1) return '';
	if (need >= names.length) return `Bring back ${list(names, 'and')}.`;
	return need === 1
		? `Bring back ${list(names, 'or')}.`
		: `Bring back ${need} of ${list(names, 'and')}.`;
}

/** What would bring a node back, if the launcher can do it. */
export function revival(node: Node | undefined): 'start' | 'restart' | null {
	if (node?.state === 'stopped' || node?.state === 'crashed') return 'start';
	return node?.state === 'unhealthy' ? 'restart' : null;
}
