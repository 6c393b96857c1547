import type { Action } from '$lib/api/nodes';
import type { DryRun, Node, Operation } from '$lib/api/types';

/** What the launcher can do to one node, in the order of menus. */
export const ACTIONS: readonly Action[] = [
	'start',
	'restart',
	'stop',
	'transfer',
	'promote',
	'kill',
	'decommission'
];

/** The launcher refuses these by what they do to the quorum; the others it always carries out. */
export const GUARDED: readonly Action[] = ['restart', 'promote', 'transfer', 'decommission'];

/** These are let in beside whatever runs on a node. */
const LET_IN: readonly Action[] = ['stop', 'kill'];

export const ACTION_LABEL: Record<Action, string> = {
	start: 'Start',
	stop: 'Stop',
	restart: 'Restart',
	kill: 'Kill the process',
	promote: 'Promote to voter',
	transfer: 'Transfer leadership here',
	decommission: 'Decommission'
};

/** What is under way that an action on `name` would have to wait for. */
export function inTheWay(operations: readonly Operation[], name: string): Operation | undefined {
	return operations.find(
		(operation) =>
			operation.state === 'running' && (operation.node === null || operation.node === name)
	);
}

/**
 * Why an action makes no sense on a node as it is, from what the page knows already. What it does to
 * the quorum is left to the launcher, which alone does that arithmetic.
 */
export function plainReason(
	action: Action,
	node: Node,
	operations: readonly Operation[]
): string | null {
	if (node.state === 'decommissioning' && action !== 'kill') return `${node.id} is being deleted`;
	if (node.state === 'removed' && action !== 'decommission') {
		return `${node.id} was removed from the cluster for good`;
	}
	const nonsense = nonsenseReason(action, node);
	if (nonsense) return nonsense;
	const first = LET_IN.includes(action) ? undefined : inTheWay(operations, node.id);
	return first ? `Operation ${first.id} (${first.kind.replace('_', ' ')}) is under way` : null;
}

function nonsenseReason(action: Action, node: Node): string | null {
	const runs = node.pid !== null;
	switch (action) {
		case 'start':
			return runs && node.desired_running ? 'Its process runs already' : null;
		case 'stop':
			return !runs && !node.desired_running ? 'It is stopped already' : null;
		case 'restart':
			return node.state === 'stopped' ? 'It is stopped; start it' : null;
		case 'kill':
			return runs ? null : 'No process of it runs';
		case 'promote':
			return node.membership === 'voter' ? 'It votes already' : null;
		case 'transfer':
			if (node.role === 'leader') return 'It leads already';
			return node.membership === 'learner' ? 'It does not vote, so it cannot lead' : null;
		case 'decommission':
			return null;
	}
}

/**
 * Whether people are asked before an action is done. A restart that costs nothing, and a start, are
 * one click; the rest is shown with its effect first.
 */
export function needsDialog(action: Action, dry: DryRun): boolean {
	if (!dry.allowed) return true;
	if (action === 'start') return false;
	if (action !== 'restart') return true;
	const { effect } = dry;
	return effect === null || effect.moves_leadership || dry.warnings.length > 0;
}

/** How many more voters may fail: what is online beyond what a decision needs. */
export function margin(online: number, needed: number): number | null {
	return online < needed ? null : online - needed;
}

/** Why a name cannot be a node's, in the launcher's words; null when it can. */
export function nameError(name: string, taken: readonly string[]): string | null {
	if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
		return 'A node’s name has 1 to 32 small letters, digits and hyphens, and begins with a letter or a digit';
	}
	return taken.includes(name) ? `There is a node ${name} already` : null;
}

/** The next free name in the series that the nodes are named by, such as `node4`. */
export function nextName(taken: readonly string[]): string {
	let number = taken.length + 1;
	while (taken.includes(`node${number}`)) number += 1;
	return `node${number}`;
}
