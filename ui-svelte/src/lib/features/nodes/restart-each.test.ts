import { expect, it } from 'vitest';
import type { Operation } from '$lib/api/types';
import { inOrder, restartEach, type Turn } from './restart-each';

function operation(id: number, state: Operation['state'], error: string | null = null): Operation {
	return {
		id,
		kind: 'restart',
		node: null,
		actor: 'dashboard',
		state,
		steps: [],
		started: 1,
		ended: null,
		error,
		can_cancel: false
	};
}

async function run(
	names: string[],
	ends: Record<string, 'done' | 'failed' | 'refused'>,
	stopAfter = 9
) {
	const begun: string[] = [];
	let turns: readonly Turn[] = [];
	let under = 0;
	await restartEach(names, {
		restart: async (name) => {
			expect(++under, 'one at a time').toBe(1);
			begun.push(name);
			if (ends[name] === 'refused') throw new Error('1 of 3 voters, 2 are needed');
			return operation(begun.length, 'running');
		},
		ended: async (id) => {
			under -= 1;
			const end = ends[begun[id - 1] ?? ''];
			return end === 'failed' ? operation(id, 'failed', 'not ready') : operation(id, 'done');
		},
		changed: (now) => (turns = now),
		goesOn: () => begun.length < stopAfter
	});
	return { begun, states: turns.map((turn) => turn.state), turns };
}

it('restarts one after the other', async () => {
	const { begun, states } = await run(['a', 'b', 'c'], {});
	expect(begun).toEqual(['a', 'b', 'c']);
	expect(states).toEqual(['done', 'done', 'done']);
});

it('leaves the rest alone once one has failed or was refused', async () => {
	const failed = await run(['a', 'b', 'c'], { b: 'failed' });
	expect(failed.states).toEqual(['done', 'failed', 'left']);
	expect(failed.turns[1]?.error).toBe('not ready');
	const refused = await run(['a', 'b', 'c'], { a: 'refused' });
	expect(refused.states).toEqual(['failed', 'left', 'left']);
	expect(refused.turns[0]?.error).toBe('1 of 3 voters, 2 are needed');
});

it('stops between two when it is told to', async () => {
	expect((await run(['a', 'b', 'c'], {}, 1)).states).toEqual(['done', 'left', 'left']);
});

it('takes the leader last', () => {
	expect(inOrder(['node1', 'node2', 'node3'], 'node1')).toEqual(['node2', 'node3', 'node1']);
	expect(inOrder(['node2', 'node3'], 'node1')).toEqual(['node2', 'node3']);
});
