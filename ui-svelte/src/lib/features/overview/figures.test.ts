import type { Cluster, Event, Node } from '$lib/api/types';
import { describe, expect, it } from 'vitest';
import {
	clusterMarks,
	countSince,
	greatestLag,
	lastLeader,
	leadingSince,
	mean,
	membersWords,
	merged,
	purgeMarks,
	slowest,
	splitSentence
} from './figures';

const event = (id: number, kind: string, over: Partial<Event> = {}): Event => ({
	id,
	t: id * 1_000,
	kind,
	severity: 'info',
	node: null,
	term: null,
	text: '',
	actor: 'launcher',
	...over
});

const cluster = { leader: 'node2', term: 4, voters: ['node1', 'node2'], learners: ['node3'] };

describe('the sentence', () => {
	it('is a word and what it means', () => {
		expect(splitSentence('Healthy. 3 of 3 voters online; all is well.')).toEqual({
			head: 'Healthy',
			rest: '3 of 3 voters online; all is well.'
		});
		expect(splitSentence('Electing a leader.')).toEqual({ head: 'Electing a leader', rest: '' });
	});
});

describe('columns', () => {
	it('the slowest is the greatest that is known', () => {
		const columns = [Float64Array.of(1, NaN, NaN), Float64Array.of(3, 2, NaN)];
		expect([...slowest(columns, 3)]).toEqual([3, 2, NaN]);
		expect([...slowest([], 2)]).toEqual([NaN, NaN]);
	});

	it('are counted and averaged without what is not known', () => {
		const t = Float64Array.of(1_000, 2_000, 3_000);
		expect(countSince(t, Float64Array.of(9, 4, 2.4), 1_000)).toBe(6);
		expect(countSince(t, Float64Array.of(9, NaN, NaN), 1_000)).toBeNull();
		expect(mean(Float64Array.of(1, NaN, 3))).toBe(2);
		expect(mean(Float64Array.of(NaN))).toBeNull();
	});
});

describe('events', () => {
	const told = [
		event(4, 'quorum_lost'),
		event(3, 'leader_elected', { node: 'node2', term: 4 }),
		event(2, 'purged', { node: 'node1' }),
		event(1, 'leader_elected', { node: 'node1', term: 3 })
	];

	it('mark the charts', () => {
		expect(clusterMarks(told).map(({ text }) => text)).toEqual([
			'quorum lost',
			'term 4 · node2 elected',
			'term 3 · node1 elected'
		]);
		expect(purgeMarks(told, 'node1')).toEqual([{ t: 2_000, text: 'purged', tone: 'muted' }]);
		expect(purgeMarks(told, null)).toEqual([]);
	});

	it('tell who leads since when, and who did', () => {
		expect(leadingSince(told, cluster as Cluster)).toBe(3_000);
		expect(leadingSince(told, { ...cluster, term: 5 } as Cluster)).toBeNull();
		expect(lastLeader(told)).toBe('node2');
		expect(lastLeader([])).toBeNull();
	});

	it('of two lists are one, each once, newest first', () => {
		expect(merged(told.slice(0, 3), told.slice(2)).map(({ id }) => id)).toEqual([4, 3, 2, 1]);
	});
});

it('lag is of the voters that follow', () => {
	const nodes = [
		{ id: 'node1', lag: 7 },
		{ id: 'node2', lag: 0 },
		{ id: 'node3', lag: 9_000 }
	] as Node[];
	expect(greatestLag(cluster as Cluster, nodes)).toBe(7);
	expect(greatestLag(cluster as Cluster, [{ id: 'node1', lag: null }] as Node[])).toBeNull();
	expect(greatestLag({ ...cluster, leader: null } as Cluster, nodes)).toBeNull();
});

it('members are counted in words', () => {
	const nodes = ['node1', 'node2', 'node3', 'node4'].map((id) => ({ id, state: 'running' }));
	expect(membersWords(cluster as Cluster, nodes as Node[])).toBe(
		'2 voters, 1 learner, 1 not a member yet'
	);
	expect(membersWords({ ...cluster, learners: [] } as unknown as Cluster, [])).toBe('2 voters');
});
