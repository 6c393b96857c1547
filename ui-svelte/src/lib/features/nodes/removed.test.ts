import { expect, it } from 'vitest';
import type { Event } from '$lib/api/types';
import { removedNodes } from './removed';

let id = 0;
function event(kind: string, node: string | null, t: number): Event {
	id += 1;
	const text = `${node} is gone`;
	return { id, t, severity: 'info', kind, node, term: null, text, actor: 'launcher' };
}

it('lists each removed node once, by the last word on it, latest first', () => {
	const events = [
		event('removed', 'node4', 1),
		event('started', 'node1', 2),
		event('decommissioned', 'node4', 3),
		event('removed', 'node5', 4),
		event('quorum_lost', null, 5)
	];
	const doubled = [...events, ...events];
	expect(removedNodes(doubled, ['node1'])).toEqual([
		{ name: 'node5', at: 4, text: 'node5 is gone' },
		{ name: 'node4', at: 3, text: 'node4 is gone' }
	]);
});

it('leaves out a node that was added again', () => {
	expect(removedNodes([event('decommissioned', 'node4', 1)], ['node4'])).toEqual([]);
});
