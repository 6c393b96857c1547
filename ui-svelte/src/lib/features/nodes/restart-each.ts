// Restarting some nodes one after the other, each only when the one before it serves again. The
// launcher has one operation for all nodes, and none for some: so this page gives the orders.

import type { Operation } from '$lib/api/types';

export type Turn = {
	name: string;
	state: 'waiting' | 'running' | 'done' | 'failed' | 'left';
	operation: number | null;
	error: string | null;
};

/** What it needs from outside. */
export interface Means {
	/** Begins the restart of a node; rejects when it is refused. */
	restart: (name: string) => Promise<Operation>;
	/** Resolves with the operation once it has ended. */
	ended: (id: number) => Promise<Operation>;
	/** Is told of every change. */
	changed: (turns: readonly Turn[]) => void;
	/** Whether to go on with the next node. */
	goesOn: () => boolean;
}

/** Who leads comes last: each move of leadership costs an election's worth of waiting. */
export function inOrder(names: readonly string[], leader: string | null): string[] {
	return [...names.filter((name) => name !== leader), ...names.filter((name) => name === leader)];
}

/** Restarts nodes in the order given, and stops at the first that fails. */
export async function restartEach(names: readonly string[], means: Means): Promise<void> {
	const turns: Turn[] = names.map((name) => ({
		name,
		state: 'waiting',
		operation: null,
		error: null
	}));
	const set = (at: number, change: Partial<Turn>) => {
		const turn = turns[at];
		if (turn) turns[at] = { ...turn, ...change };
		means.changed([...turns]);
	};
	let going = true;
	for (const [at, name] of names.entries()) {
		if (!going || !means.goesOn()) {
			set(at, { state: 'left' });
			continue;
		}
		try {
			const begun = await means.restart(name);
			set(at, { state: 'running', operation: begun.id });
			const { state, error } = await means.ended(begun.id);
			going = state === 'done';
			set(at, { state: going ? 'done' : 'failed', error: going ? null : (error ?? state) });
		} catch (reason) {
			going = false;
			set(at, {
				state: 'failed',
				error: reason instanceof Error ? reason.message : String(reason)
			});
		}
	}
}
