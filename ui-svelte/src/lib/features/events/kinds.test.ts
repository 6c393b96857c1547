import { describe, expect, it } from 'vitest';
import type { Operation } from '$lib/api/types';
import { eventText, eventTone, kindsByGroup, kindWords, namesNoActor, operationOf } from './kinds';

it('gives each kind words, and one that is not known its own', () => {
	expect([kindWords('node_back'), kindWords('warp_drive')]).toEqual(['Node back', 'Warp drive']);
	const kinds = kindsByGroup.flatMap((group) => group.kinds);
	expect(new Set(kinds).size).toBe(kinds.length);
});

it('shows what is wrong before what it is', () => {
	expect(eventTone('leader_elected', 'info')).toBe('accent');
	expect(eventTone('leader_elected', 'warning')).toBe('warn');
	expect(eventTone('warp_drive', 'error')).toBe('crit');
	expect(eventTone('warp_drive', 'info')).toBe('muted');
});

it('says who asked', () => {
	const asked = { text: 'asked to stop node2 (operation 3)', actor: 'dashboard', node: 'node2' };
	expect(eventText(asked)).toBe('The dashboard asked to stop node2 (operation 3)');
	expect(namesNoActor(asked)).toBe(false);
	expect(eventText({ ...asked, actor: 'api' })).toMatch(/^A caller of the API asked to/);
	expect(eventText({ ...asked, actor: 'ada' })).toMatch(/^ada asked to/);
	const failed = { text: 'operation 3 (stop node2) failed: x', actor: 'api', node: 'node2' };
	expect(eventText(failed)).toMatch(/^Operation 3/);
	const stopped = { text: 'node2 has stopped', actor: 'launcher', node: 'node2' };
	expect([eventText(stopped), namesNoActor(stopped)]).toEqual([stopped.text, true]);
});

describe('operationOf', () => {
	const operation: Operation = {
		id: 12,
		kind: 'restart',
		node: 'node2',
		actor: 'dashboard',
		state: 'done',
		steps: [],
		started: 100_000,
		ended: 110_000,
		error: null,
		can_cancel: false
	};
	const find = (text: string, t: number) => operationOf({ text, t }, [operation])?.id ?? null;

	it('finds what the sentence names, while it was under way', () => {
		expect(find('asked to restart node2 (operation 12)', 100_010)).toBe(12);
		expect(find('operation 12 (restart node2) failed: x', 110_500)).toBe(12);
		expect(operationOf({ text: 'operation 12', t: 9e9 }, [{ ...operation, ended: null }])).not.toBe(
			null
		);
	});

	it('does not take one of an earlier launcher for it', () => {
		expect(find('asked to restart node2 (operation 12)', 50_000)).toBe(null);
		expect(find('asked to restart node2 (operation 12)', 200_000)).toBe(null);
		expect(find('asked to restart node2 (operation 1)', 100_010)).toBe(null);
		expect(find('node2 has stopped', 100_010)).toBe(null);
	});
});
