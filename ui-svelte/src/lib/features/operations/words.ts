// What operations and their states are called.
import type { Operation, Progress } from '$lib/api/types';

const TITLES: Record<string, (node: string) => string> = {
	start: (node) => `Start ${node}`,
	stop: (node) => `Stop ${node}`,
	restart: (node) => `Restart ${node}`,
	kill: (node) => `Kill ${node}`,
	add: (node) => `Add ${node}`,
	promote: (node) => `Promote ${node} to voter`,
	transfer: (node) => `Move leadership to ${node}`,
	decommission: (node) => `Decommission ${node}`,
	rolling_restart: () => 'Rolling restart of all nodes'
};

/** `Restart node2`; a kind that is not known is its own name with spaces. */
export function operationTitle({ kind, node }: Pick<Operation, 'kind' | 'node'>): string {
	const title = TITLES[kind];
	if (title) return title(node ?? 'the cluster');
	const plain = kind.replaceAll('_', ' ');
	const words = plain.charAt(0).toUpperCase() + plain.slice(1);
	return node ? `${words} ${node}` : words;
}

export const progressWords: Record<Progress, string> = {
	pending: 'Waiting',
	running: 'Running',
	done: 'Done',
	failed: 'Failed',
	cancelled: 'Cancelled'
};

/** Milliseconds since it began, or between begin and end. */
export function operationMs(operation: Pick<Operation, 'started' | 'ended'>, now: number): number {
	return Math.max(0, (operation.ended ?? now) - operation.started);
}

/**
 * How long a step has taken. The launcher tells of an operation when it changes, so the time of the
 * step that runs is counted on from the end of those before it.
 */
export function stepMs(operation: Operation, index: number, now: number): number {
	const step = operation.steps[index];
	if (!step) return 0;
	if (step.state !== 'running') return step.ms;
	const before = operation.steps.slice(0, index).reduce((sum, { ms }) => sum + ms, 0);
	return Math.max(step.ms, now - operation.started - before);
}

/** The step that runs, or the one that it stopped at. */
export function currentStep(operation: Operation): { number: number; name: string } | null {
	const index = operation.steps.findIndex(({ state }) => state !== 'done' && state !== 'pending');
	const step = operation.steps[index];
	return step ? { number: index + 1, name: step.name } : null;
}

export function stepsDone(operation: Pick<Operation, 'steps'>): number {
	return operation.steps.filter(({ state }) => state === 'done').length;
}
