import { describe, expect, it } from 'vitest';
import type { DryRun, Effect, Operation } from '$lib/api/types';
import { margin, nameError, needsDialog, nextName, plainReason } from './availability';
import { aNode } from './testing';

const effect: Effect = {
	voters_before: 5,
	online_before: 5,
	needed_before: 3,
	voters_after: 5,
	online_after: 4,
	needed_after: 3,
	moves_leadership: false
};

const allowed: DryRun = { allowed: true, reason: null, warnings: [], effect, steps: [] };

function running(kind: string, node: string | null): Operation {
	return {
		id: 7,
		kind,
		node,
		actor: 'somebody',
		state: 'running',
		steps: [],
		started: 1,
		ended: null,
		error: null,
		can_cancel: true
	};
}

describe('what makes no sense', () => {
	it('is said of a node that runs', () => {
		const node = aNode({ role: 'leader' });
		expect(plainReason('start', node, [])).toBe('Its process runs already');
		expect(plainReason('promote', node, [])).toBe('It votes already');
		expect(plainReason('transfer', node, [])).toBe('It leads already');
		expect(plainReason('stop', node, [])).toBeNull();
		expect(plainReason('decommission', node, [])).toBeNull();
	});

	it('is said of a node that is stopped', () => {
		const node = aNode({ state: 'stopped', pid: null, desired_running: false, role: null });
		expect(plainReason('start', node, [])).toBeNull();
		expect(plainReason('stop', node, [])).toBe('It is stopped already');
		expect(plainReason('restart', node, [])).toBe('It is stopped; start it');
		expect(plainReason('kill', node, [])).toBe('No process of it runs');
	});

	it('lets a crashed node be started, restarted and stopped', () => {
		const node = aNode({ state: 'crashed', pid: null });
		for (const action of ['start', 'restart', 'stop'] as const) {
			expect(plainReason(action, node, []), action).toBeNull();
		}
	});

	it('is everything but its end for a node that is being deleted', () => {
		const node = aNode({ state: 'decommissioning' });
		expect(plainReason('restart', node, [])).toBe('node1 is being deleted');
		expect(plainReason('kill', node, [])).toBeNull();
	});

	it('is what something else is in the way of, but for stopping and killing', () => {
		const busy = [running('rolling_restart', null)];
		expect(plainReason('restart', aNode(), busy)).toBe(
			'Operation 7 (rolling restart) is under way'
		);
		expect(plainReason('stop', aNode(), busy)).toBeNull();
		expect(plainReason('restart', aNode(), [running('restart', 'node2')])).toBeNull();
	});
});

describe('a dialog', () => {
	it('is left out for a restart that costs nothing, and for a start', () => {
		expect(needsDialog('restart', allowed)).toBe(false);
		expect(needsDialog('start', { ...allowed, warnings: ['one more is needed'] })).toBe(false);
	});

	it('asks before a restart that leaves no margin, moves leadership or has an unknown effect', () => {
		expect(needsDialog('restart', { ...allowed, warnings: ['no further voter may fail'] })).toBe(
			true
		);
		const moves = { ...allowed, effect: { ...effect, moves_leadership: true } };
		expect(needsDialog('restart', moves)).toBe(true);
		expect(needsDialog('restart', { ...allowed, effect: null })).toBe(true);
	});

	it('shows what is refused, and asks before everything else', () => {
		expect(needsDialog('start', { ...allowed, allowed: false, reason: 'no' })).toBe(true);
		for (const action of ['stop', 'kill', 'promote', 'transfer', 'decommission'] as const) {
			expect(needsDialog(action, allowed), action).toBe(true);
		}
	});
});

it('counts how many more voters may fail, and knows when none can decide', () => {
	expect(margin(5, 3)).toBe(2);
	expect(margin(3, 3)).toBe(0);
	expect(margin(2, 3)).toBeNull();
});

describe('a name', () => {
	it('is checked as the launcher does', () => {
		for (const good of ['node4', 'a', '0', 'a-', 'a'.repeat(32)]) {
			expect(nameError(good, []), good).toBeNull();
		}
		for (const bad of ['', '-a', 'Node4', 'a b', 'a_b', 'ä', '../x', 'a'.repeat(33)]) {
			expect(nameError(bad, []), bad).toMatch(/1 to 32/);
		}
		expect(nameError('node1', ['node1'])).toBe('There is a node node1 already');
	});

	it('is suggested after the last one', () => {
		expect(nextName(['node1', 'node2', 'node3'])).toBe('node4');
		expect(nextName(['node1', 'node3'])).toBe('node4');
		expect(nextName([])).toBe('node1');
	});
});
