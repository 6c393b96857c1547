import { describe, expect, it } from 'vitest';
import type { Cluster, Node, State } from '$lib/api/types';
import { list, remedy, revival } from './words';

const node = (id: string, state: State) => ({ id, state }) as Node;
const cluster = (voters: string[], online: number) =>
	({ voters, online, quorum: Math.floor(voters.length / 2) + 1 }) as Cluster;

describe('the banners', () => {
	it('lists names as one says them', () => {
		expect(list(['a'], 'or')).toBe('a');
		expect(list(['a', 'b'], 'or')).toBe('a or b');
		expect(list(['a', 'b', 'c'], 'and')).toBe('a, b and c');
	});

	it('names the nodes to bring back, and how many of them', () => {
		const five = ['a', 'b', 'c', 'd', 'e'];
		const up = (...names: string[]) => names.map((name) => node(name, 'running'));
		expect(remedy(cluster(['a', 'b', 'c'], 1), up('a'))).toBe('Bring back b or c.');
		expect(remedy(cluster(five, 1), up('a'))).toBe('Bring back 2 of b, c, d and e.');
		expect(remedy(cluster(['a', 'b'], 1), up('a'))).toBe('Bring back b.');
	});

	it('starts what does not run, restarts what does not answer, and leaves the rest', () => {
		expect(revival(node('a', 'stopped'))).toBe('start');
		expect(revival(node('a', 'crashed'))).toBe('start');
		expect(revival(node('a', 'unhealthy'))).toBe('restart');
		expect(revival(node('a', 'starting'))).toBeNull();
		expect(revival(undefined)).toBeNull();
	});
});
