import type { Cluster, Node } from '$lib/api/types';
import { expect, it } from 'vitest';
import { Sampled } from './sampled';

const cluster = (committed: number | null) => ({ committed }) as Cluster;
const node = (sync_p99_ms: number | null) =>
	({ id: 'node1', sync_p99_ms, probe_rtt_ms: 1, disk: null }) as Node;

it('what was not noted is a gap', () => {
	const sampled = new Sampled();
	sampled.note(2_000, cluster(10), [node(3)]);
	sampled.note(2_000, cluster(11), [node(9)]);
	const t = Float64Array.of(1_000, 2_000, 3_000);
	expect([...sampled.column(t, 'node1', 'sync_p99_ms')]).toEqual([NaN, 3, NaN]);
	expect([...sampled.column(t, 'node1', 'disk')]).toEqual([NaN, NaN, NaN]);
	expect([...sampled.column(t, 'node2', 'probe_rtt_ms')]).toEqual([NaN, NaN, NaN]);
});

it('commits are counted between two seconds that are known, and never backwards', () => {
	const sampled = new Sampled();
	[100, 150, null, 160, 155].forEach((committed, i) =>
		sampled.note(i * 1_000, cluster(committed), [])
	);
	const t = Float64Array.of(0, 1_000, 2_000, 3_000, 4_000);
	expect([...sampled.commits(t)]).toEqual([NaN, 50, NaN, NaN, NaN]);
});

it('is bounded', () => {
	const sampled = new Sampled();
	for (let i = 0; i < 1_000; i++) sampled.note(i, cluster(i), []);
	expect(sampled.commits(Float64Array.of(98, 99))[1]).toBeNaN();
	expect(sampled.commits(Float64Array.of(998, 999))[1]).toBe(1_000);
});
