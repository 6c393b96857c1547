import type { Event } from '$lib/api/types';
import { describe, expect, it } from 'vitest';
import { gapWords, leadership, ledOnly } from './timeline';

type Told = [t: number, kind: string, node?: string | null, term?: number];

const events = (told: Told[]): Event[] =>
	told.map(([t, kind, node = null, term = null as unknown as number], i) => ({
		id: i + 1,
		t,
		kind,
		node,
		term: term ?? null,
		severity: 'info',
		text: '',
		actor: node ?? 'launcher'
	}));

const lines = (told: Told[], from: number, to: number, leader: string | null) => {
	const { reigns, gaps, ...rest } = leadership(events(told), { from, to, leader });
	return {
		reigns: reigns.map((r) => `${r.node} ${String(r.term)}: ${String(r.from)}-${String(r.to)}`),
		gaps: gaps.map((g) => `${String(g.from)}-${String(g.to)} ${gapWords(g)}`),
		...rest
	};
};

const START: Told[] = [
	[100, 'election_started', 'node1', 1],
	[400, 'leader_elected', 'node1', 1]
];

it('what only a leader knows is not known without one', () => {
	const { gaps } = leadership(events([...START, [2_000, 'quorum_lost']]), {
		from: 0,
		to: 9_000,
		leader: null
	});
	const t = Float64Array.of(1_000, 2_000, 3_000);
	expect([...ledOnly(t, Float64Array.of(1, 2, 50_000), gaps)]).toEqual([1, 2, NaN]);
	expect([...ledOnly(t, Float64Array.of(1, 2, 3), [])]).toEqual([1, 2, 3]);
});

describe('leadership', () => {
	it('is one reign while nothing happens', () => {
		expect(lines(START, 1_000, 9_000, 'node1')).toEqual({
			reigns: ['node1 1: 1000-9000'],
			gaps: [],
			changes: 0,
			without: 0,
			knownFrom: 1_000
		});
	});

	it('measures the time without a leader from the end of the old one', () => {
		const killed: Told[] = [
			...START,
			[5_000, 'crashed', 'node1'],
			[5_600, 'node_unreachable', 'node1'],
			[6_200, 'election_started', 'node2', 2],
			[6_450, 'leader_elected', 'node2', 2]
		];
		expect(lines(killed, 1_000, 9_000, 'node2')).toEqual({
			reigns: ['node1 1: 1000-5000', 'node2 2: 6450-9000'],
			gaps: ['5000-6450 term 2, 1 try'],
			changes: 1,
			without: 1_450,
			knownFrom: 1_000
		});
	});

	it('does not depend on the order in which it is told', () => {
		const told = events([
			...START,
			[5_000, 'crashed', 'node1'],
			[6_450, 'leader_elected', 'node2', 2],
			[7_000, 'leader_elected', 'node1', 1]
		]);
		const span = { from: 0, to: 9_000, leader: 'node2' };
		expect(leadership([...told].reverse(), span)).toEqual(leadership(told, span));
		expect(leadership(told, span).reigns.map((reign) => reign.node)).toEqual(['node1', 'node2']);
	});

	it('hands over without a gap when there was none', () => {
		const handed: Told[] = [
			...START,
			[5_000, 'leadership_handed_over', 'node1'],
			[5_100, 'leader_elected', 'node3', 2],
			[5_150, 'leadership_lost', 'node1', 1]
		];
		const got = lines(handed, 0, 9_000, 'node3');
		expect(got.reigns).toEqual(['node1 1: 400-5100', 'node3 2: 5100-9000']);
		expect(got.gaps).toEqual(['100-400 term 1, 1 try']);
		expect(got.changes).toBe(1);
	});

	it('doubts a leader that does not answer, and believes it again when it does', () => {
		const quiet: Told[] = [
			...START,
			[5_000, 'unhealthy', 'node1'],
			[6_000, 'answers_again', 'node1']
		];
		expect(lines(quiet, 1_000, 9_000, 'node1').reigns).toEqual(['node1 1: 1000-9000']);
		const gone: Told[] = [
			...START,
			[5_000, 'unhealthy', 'node1'],
			[6_000, 'election_started', 'node2', 2],
			[6_300, 'leader_elected', 'node2', 2]
		];
		expect(lines(gone, 1_000, 9_000, 'node2').gaps).toEqual(['5000-6300 term 2, 1 try']);
	});

	it('counts the tries and terms of an election that does not end', () => {
		const lost: Told[] = [
			...START,
			[5_000, 'crashed', 'node1'],
			[5_010, 'quorum_lost'],
			[6_000, 'election_started', 'node2', 15],
			[7_000, 'election_started', 'node2', 16],
			[8_000, 'election_started', 'node3', 26]
		];
		const got = lines(lost, 1_000, 9_000, null);
		expect(got.gaps).toEqual(['5000-null terms 15 to 26, 3 tries']);
		expect(got.without).toBe(4_000);
		expect(
			leadership(events(lost), { from: 0, to: 9_000, leader: null }).gaps.at(-1)?.quorumLost
		).toBe(true);
	});

	it('lets the same one lead on when its quorum is back without an election', () => {
		const back: Told[] = [...START, [5_000, 'quorum_lost'], [7_000, 'quorum_back']];
		expect(lines(back, 1_000, 9_000, 'node1').reigns).toEqual([
			'node1 1: 1000-5000',
			'node1 1: 7000-9000'
		]);
		expect(lines(back, 1_000, 9_000, 'node1').changes).toBe(0);
		const died: Told[] = [
			...START,
			[5_000, 'quorum_lost'],
			[6_000, 'crashed', 'node1'],
			[7_000, 'quorum_back']
		];
		expect(lines(died, 1_000, 9_000, null).reigns).toEqual(['node1 1: 1000-5000']);
	});

	it('ends with the cluster’s own word when nothing else told of the end', () => {
		const span = { from: 1_000, to: 9_000, leader: null, since: 6_000 };
		const { reigns, without } = leadership(events(START), span);
		expect(reigns.map((reign) => reign.to)).toEqual([6_000]);
		expect(without).toBe(3_000);
	});

	it('says from when on it knows', () => {
		const got = lines([[5_000, 'leader_elected', 'node2', 9]], 1_000, 9_000, 'node2');
		expect(got.knownFrom).toBe(5_000);
		expect(got.reigns).toEqual(['node2 9: 5000-9000']);
		expect(lines([], 1_000, 9_000, 'node2').knownFrom).toBe(9_000);
	});
});
