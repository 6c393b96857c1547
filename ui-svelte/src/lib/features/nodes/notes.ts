import type { Cluster, Node, Operation } from '$lib/api/types';
import { disagreement } from './opinion';
import { troubleOf, type Trouble } from './trouble';

export interface Notes {
	trouble: Trouble | null;
	/** What it says of the leader, where that is not what the cluster says. */
	differs: string | null;
	/** What is being done to it. */
	operation: Operation | null;
}

/** What there is to know of a node beyond its figures. */
export function notesOf(
	node: Node,
	cluster: Cluster | null,
	operations: readonly Operation[],
	nameOf: (id: number | null) => string | null,
	now: number
): Notes {
	const here = (operation: Operation) =>
		operation.state === 'running' && operation.node === node.id;
	return {
		trouble: troubleOf(node, now),
		differs: disagreement(node, cluster, nameOf),
		operation: operations.find(here) ?? null
	};
}

export function hasNotes({ trouble, differs, operation }: Notes): boolean {
	return trouble !== null || differs !== null || operation !== null;
}
