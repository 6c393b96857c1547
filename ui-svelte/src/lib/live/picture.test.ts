import { describe, expect, it } from 'vitest';
import { EVENTS_MAX, nothing, Picture } from './picture';
import { cluster, event, node, operation, snapshot } from '../testing/shapes';

function picture() {
	const made = new Picture();
	const tell = (kind: string, body: unknown) => {
		const changes = nothing();
		made.apply(kind, JSON.stringify(body), changes);
		return changes;
	};
	return { made, tell };
}

const ids = (things: readonly { id: number | string }[]) => things.map((thing) => thing.id);

describe('the picture', () => {
	it('begins with a snapshot, nodes in natural order and the newest first', () => {
		const { made, tell } = picture();
		const operations = [operation(1), operation(3)];
		const changes = tell('snapshot', snapshot({ operations, now: Date.now() + 60_000 }));
		expect(ids(made.nodes)).toEqual(['node1', 'node2', 'node10']);
		expect([ids(made.events), ids(made.operations)]).toEqual([
			[2, 1],
			[3, 1]
		]);
		expect(made.clockAheadMs).toBeGreaterThan(59_000);
		expect(changes).toEqual({
			cluster: true,
			nodes: true,
			operations: true,
			events: true,
			ticks: []
		});
	});

	it('changes only what a message is about', () => {
		const { made, tell } = picture();
		tell('snapshot', snapshot());
		const [first, second] = made.nodes;
		expect(tell('node', { id: 'node2', lag: 7, trouble: 'slow' })).toEqual({
			...nothing(),
			nodes: true
		});
		expect(made.nodes[1]).toEqual({ ...second, lag: 7, trouble: 'slow' });
		expect(made.nodes[0]).toBe(first);
		expect(tell('cluster', cluster({ health: 'degraded' }))).toEqual({
			...nothing(),
			cluster: true
		});
		expect(made.cluster?.health).toBe('degraded');
		expect(tell('bye', { reason: 'x', retry_ms: 1 })).toEqual(nothing());
	});

	it('takes in nodes that come, and leaves out those that go', () => {
		const { made, tell } = picture();
		tell('snapshot', snapshot());
		tell('node', node('node4'));
		expect(ids(made.nodes)).toEqual(['node1', 'node2', 'node4', 'node10']);
		tell('node', { id: 'node2', gone: true });
		expect(ids(made.nodes)).toEqual(['node1', 'node4', 'node10']);
	});

	it('keeps events over a new snapshot, without any of them twice, and not for ever', () => {
		const { made, tell } = picture();
		tell('snapshot', snapshot());
		tell('event', event(3));
		tell('event', event(3));
		expect(tell('snapshot', snapshot({ events: [event(3), event(4)] })).events).toBe(true);
		expect(ids(made.events)).toEqual([4, 3, 2, 1]);
		expect(tell('snapshot', snapshot({ events: [event(4)] })).events).toBe(false);
		for (let id = 5; id < 2 * EVENTS_MAX; id++) tell('event', event(id));
		expect(made.events).toHaveLength(EVENTS_MAX);
	});

	it('follows operations', () => {
		const { made, tell } = picture();
		tell('operation', operation(1));
		tell('operation', operation(2));
		tell('operation', operation(1, { state: 'done' }));
		expect(made.operations.map(({ id, state }) => [id, state])).toEqual([
			[2, 'running'],
			[1, 'done']
		]);
	});

	it('can be handed on', () => {
		const { made, tell } = picture();
		tell('snapshot', snapshot());
		const other = new Picture();
		const changes = nothing();
		other.load(structuredClone(made.dump()), changes);
		expect(other).toEqual(made);
		expect(changes).toEqual({
			cluster: true,
			nodes: true,
			operations: true,
			events: true,
			ticks: []
		});
	});
});
