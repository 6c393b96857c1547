import type { Cluster, Node } from '$lib/api/types';
import { describe, expect, it } from 'vitest';
import { CENTRE, INNER, OUTER, picture, pictureWords, shorten } from './ring';

const node = (id: string, over: Partial<Node> = {}) =>
	({ id, state: 'running', role: 'follower', ...over }) as Node;

const cluster = (voters: string[], leader: string | null, learners: string[] = []) =>
	({ voters, learners, leader }) as Cluster;

const away = ({ x, y }: { x: number; y: number }) => Math.hypot(x - CENTRE, y - CENTRE);

describe('picture', () => {
	it('puts the leader in the middle, voters around it and learners outside', () => {
		const names = ['n1', 'n2', 'n3', 'n4', 'n5'];
		const got = picture(
			cluster(names, 'n2', ['n6']),
			[...names, 'n6'].map((name) => node(name))
		);
		expect(got.leader).toMatchObject({ name: 'n2', look: 'leader', x: CENTRE, y: CENTRE });
		expect(got.voters.map((voter) => voter.name)).toEqual(['n1', 'n3', 'n4', 'n5']);
		for (const voter of got.voters) expect(away(voter)).toBeCloseTo(INNER);
		expect(got.learners.map(away)).toEqual([OUTER]);
		expect(got.learners[0]?.y).toBeCloseTo(CENTRE + OUTER);
	});

	it('without a leader shows every voter on the ring', () => {
		const got = picture(cluster(['n1', 'n2', 'n3'], null), [
			node('n1', { role: 'candidate' }),
			node('n2', { state: 'crashed', role: null }),
			node('n3', { state: 'stopped', role: null })
		]);
		expect(got.leader).toBeNull();
		expect(got.voters.map((voter) => voter.look)).toEqual(['candidate', 'down', 'stopped']);
		expect(pictureWords(got)).toBe(
			'No leader. n1, voter, asks for votes. n2, voter, does not answer. n3, voter, is stopped.'
		);
	});

	it('does not put one in the middle whom no quorum follows', () => {
		const got = picture(cluster(['n1', 'n2', 'n3'], null), [
			node('n3', { role: 'leader', state: 'unhealthy' })
		]);
		expect(got.leader).toBeNull();
		expect(got.voters[2]).toMatchObject({ name: 'n3', look: 'alone' });
	});

	it('knows members that are run elsewhere', () => {
		const got = picture(cluster(['n1', '#7'], 'n1'), [node('n1')]);
		expect(got.voters[0]).toMatchObject({ name: '#7', look: 'unknown' });
	});

	it('keeps neighbours apart, however many there are', () => {
		for (const count of [1, 2, 3, 5, 9, 20]) {
			const names = Array.from({ length: count }, (_, i) => `node${String(i)}`);
			const { voters } = picture(
				cluster([...names, 'leads'], 'leads'),
				names.map((name) => node(name))
			);
			for (const [i, a] of voters.entries()) {
				for (const b of voters.slice(i + 1)) {
					expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThan(a.r + b.r);
				}
			}
		}
	});
});

it('a long name keeps its beginning and its end', () => {
	expect([shorten('node1'), shorten('node12'), shorten('orders-12')]).toEqual([
		'node1',
		'node12',
		'ord…12'
	]);
});
