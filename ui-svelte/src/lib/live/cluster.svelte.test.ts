import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Message } from '../api/sse';
import { cluster, event, node, snapshot } from '../testing/shapes';
import type { ShareHandlers } from './share';
import type { StreamHandlers, StreamStatus } from './stream';

type Handlers = ShareHandlers<unknown, unknown>;

// The two edges: the other tabs, and the launcher.
const edges = vi.hoisted(() => ({
	share: null as Handlers | null,
	told: [] as unknown[],
	asked: 0,
	joined: 0,
	left: 0,
	stream: null as StreamHandlers | null,
	from: null as string | null
}));

vi.mock('./share', () => ({
	share: (_: string, handlers: Handlers) => {
		edges.share = handlers;
		edges.joined += 1;
		return {
			tell: (said: unknown) => edges.told.push(said),
			ask: () => (edges.asked += 1),
			leave: () => (edges.left += 1)
		};
	}
}));
vi.mock('./stream', async (original) => ({
	...(await original<typeof import('./stream')>()),
	openStream: (from: string, handlers: StreamHandlers) => {
		[edges.stream, edges.from] = [handlers, from];
		return { close: () => (edges.stream = null) };
	}
}));

const OPEN: StreamStatus = { phase: 'open', attempt: 0, retryAt: null, signInNeeded: false };

const message = (event: string, id: string, body: unknown): Message => ({
	event,
	id,
	data: JSON.stringify(body)
});

describe('what is live', () => {
	let live: typeof import('./cluster.svelte').live;
	let series: typeof import('./series.svelte').series;
	let stop: () => void;
	let hidden = false;

	const frame = () => vi.advanceTimersByTimeAsync(20);
	const lead = () => edges.share?.lead();
	const hear = (said: unknown) => edges.share?.hear(said);
	const tell = (event: string, id: string, body: unknown) =>
		edges.stream?.onmessage(message(event, id, body));

	function hide(now: boolean): void {
		hidden = now;
		document.dispatchEvent(new Event('visibilitychange'));
	}

	beforeEach(async () => {
		vi.useFakeTimers();
		Object.assign(edges, { share: null, told: [], asked: 0, joined: 0, left: 0, stream: null });
		hidden = false;
		vi.spyOn(document, 'hidden', 'get').mockImplementation(() => hidden);
		vi.resetModules();
		({ live } = await import('./cluster.svelte'));
		({ series } = await import('./series.svelte'));
		stop = live.start();
	});

	afterEach(() => {
		stop();
		vi.useRealTimers();
		vi.restoreAllMocks();
	});

	async function begin(): Promise<void> {
		lead();
		edges.stream?.onstatus(OPEN);
		tell('snapshot', '1-5', snapshot());
		await frame();
	}

	it('is nothing before the first message', () => {
		expect([live.connection, live.cluster, live.stale]).toEqual(['connecting', null, true]);
		expect(live.canWrite).toEqual({ ok: false, reason: 'The cluster is not known yet.' });
	});

	it('is painted once a frame, whatever came in it', async () => {
		await begin();
		expect(live.connection).toBe('live');
		expect(live.nodes.map(({ id }) => id)).toEqual(['node1', 'node2', 'node10']);
		expect([live.nameOf(10), live.nameOf(99), live.nameOf(null)]).toEqual(['node10', null, null]);
		const shown = live.nodes;
		tell('node', '1-6', { id: 'node2', lag: 4 });
		tell('node', '1-7', { id: 'node2', lag: 5 });
		expect(live.nodes).toBe(shown);
		await frame();
		expect(live.node('node2')?.lag).toBe(5);
		expect(live.node('node1')).toBe(shown[0]);
	});

	it('is delayed after three seconds without a message', async () => {
		await begin();
		await vi.advanceTimersByTimeAsync(2_900);
		expect([live.connection, live.stale]).toEqual(['live', false]);
		await vi.advanceTimersByTimeAsync(200);
		expect([live.connection, live.stale]).toEqual(['delayed', true]);
		expect(live.cluster).not.toBeNull();
		tell('cluster', '1-6', cluster());
		expect([live.connection, live.stale]).toEqual(['live', false]);
	});

	it('keeps the last picture while the launcher is away, and says when it tries again', async () => {
		await begin();
		edges.stream?.onstatus({ phase: 'waiting', attempt: 2, retryAt: 7, signInNeeded: false });
		expect([live.connection, live.attempt, live.retryAt]).toEqual(['reconnecting', 2, 7]);
		expect(live.canWrite).toEqual({ ok: false, reason: 'The launcher does not answer.' });
		expect(live.nodes).toHaveLength(3);
		vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false);
		dispatchEvent(new Event('offline'));
		expect(live.connection).toBe('offline');
	});

	it('needs a session when an answer says so, until the stream is open again', async () => {
		await begin();
		edges.stream?.onstatus({ phase: 'waiting', attempt: 1, retryAt: 7, signInNeeded: true });
		expect(live.signInNeeded).toBe(true);
		edges.stream?.onstatus(OPEN);
		expect(live.signInNeeded).toBe(false);
	});

	it('says why nobody can write', async () => {
		await begin();
		expect(live.canWrite).toEqual({ ok: true, reason: null });
		tell('cluster', '1-6', cluster({ health: 'no_quorum', sentence: 'No quorum. 1 of 3.' }));
		await frame();
		expect(live.canWrite).toEqual({ ok: false, reason: 'No quorum. 1 of 3.' });
		tell('cluster', '1-7', cluster({ health: 'no_leader', leader: null }));
		await frame();
		expect(live.canWrite.reason).toBe('A leader is being elected.');
	});

	it('goes on receiving while it is paused, and shows all of it after', async () => {
		await begin();
		live.paused = true;
		tell('cluster', '1-6', cluster({ health: 'degraded' }));
		tell('event', '1-7', event(9));
		await vi.advanceTimersByTimeAsync(14_000);
		expect([live.cluster?.health, live.events[0]?.id]).toEqual(['healthy', 2]);
		expect(live.behindMs).toBe(14_000);
		live.paused = false;
		await frame();
		expect([live.cluster?.health, live.events[0]?.id]).toEqual(['degraded', 9]);
		expect(live.behindMs).toBe(0);
	});

	it('has figures, which stand still while it is paused', async () => {
		const figures = { reads: 1, writes: 2, errors: 0 };
		const rest = { write_p50_ms: null, write_p99_ms: null, read_p99_ms: null, nodes: {} };
		const tick = (t: number) => ({ t, ...figures, ...rest });
		const shown = () => [...series.seconds('1m').column('writes')];
		lead();
		tell('snapshot', '1-5', snapshot({ ticks: [tick(1_000), tick(2_000)] }));
		await frame();
		expect(shown()).toEqual([2, 2]);
		const version = series.version;
		live.paused = true;
		tell('tick', '1-6', tick(3_000));
		await vi.advanceTimersByTimeAsync(1_000);
		expect([shown().length, series.version]).toEqual([2, version]);
		live.paused = false;
		await vi.advanceTimersByTimeAsync(1_000);
		expect(shown()).toEqual([2, 2, 2]);
	});

	it('tells when the launcher is of another version than the page', async () => {
		await begin();
		expect([live.version, live.outdated]).toEqual(['0.1.0', false]);
		tell('snapshot', '2-9', snapshot({ epoch: 2, version: '0.2.0' }));
		await frame();
		expect([live.version, live.outdated]).toEqual(['0.2.0', true]);
	});

	it('goes without the stream while it is hidden, and reads on where it was', async () => {
		await begin();
		hide(true);
		await vi.advanceTimersByTimeAsync(29_000);
		hide(false);
		await vi.advanceTimersByTimeAsync(60_000);
		expect([edges.joined, edges.left]).toEqual([1, 0]);
		hide(true);
		await vi.advanceTimersByTimeAsync(30_000);
		expect([edges.left, live.connection, live.stale]).toEqual([1, 'connecting', true]);
		hide(false);
		expect(edges.joined).toBe(2);
		lead();
		expect(edges.from).toBe('1-5');
	});

	it('is followed once, by however many', () => {
		const other = live.start();
		expect(edges.joined).toBe(1);
		other();
		expect(edges.left).toBe(0);
	});

	describe('in a tab that listens', () => {
		const said = (kind: string, id: string, body: unknown) =>
			hear({ message: message(kind, id, body) });

		it('is what the reading tab says', async () => {
			hear({ status: OPEN });
			said('snapshot', '1-5', snapshot());
			said('node', '1-6', node('node4'));
			await frame();
			expect([live.connection, live.nodes.length, edges.asked]).toEqual(['live', 4, 0]);
		});

		it('waits for the whole when it comes in between', async () => {
			said('node', '1-9', { id: 'node1', lag: 1 });
			await frame();
			expect([live.nodes.length, edges.asked]).toEqual([0, 1]);
			lead();
			tell('snapshot', '1-5', snapshot());
			const welcome = structuredClone(edges.share?.welcome());
			edges.share?.welcomed(welcome);
			await frame();
			expect(live.nodes).toHaveLength(3);
		});

		it('asks again when a message is missing, and takes none twice', async () => {
			said('snapshot', '1-5', snapshot());
			said('node', '1-6', { id: 'node1', lag: 6 });
			said('node', '1-5', { id: 'node1', lag: 5 });
			await frame();
			expect([live.node('node1')?.lag, edges.asked]).toEqual([6, 0]);
			said('node', '1-8', { id: 'node1', lag: 8 });
			said('node', '1-9', { id: 'node1', lag: 9 });
			await frame();
			expect([live.node('node1')?.lag, edges.asked]).toEqual([6, 2]);
			lead();
			expect(edges.from).toBe('1-6');
		});
	});
});
