import { describe, expect, it } from 'vitest';
import type { Members, Status } from '$lib/api/types';
import { compare, disagreement, isAlone, memberViews } from './opinion';
import { aCluster, aNode } from './testing';

const nameOf = (id: number | null) => (id !== null && id <= 3 ? `node${id}` : null);

describe('a node’s view of the leader', () => {
	const says = (but: Parameters<typeof aNode>[0], cluster = aCluster()) =>
		disagreement(aNode(but), cluster, nameOf);

	it('is no news where it is the cluster’s', () => {
		expect(says({})).toBeNull();
		expect(says({ id: 'node2', role: 'leader' })).toBeNull();
	});

	it('is said where it differs', () => {
		const old = { id: 'node3', leader_seen: 1, term: 3 };
		expect(says(old)).toBe('node3 says node1 leads in term 3');
		expect(says({ ...old, leader_seen: 9 })).toBe('node3 says #9 leads in term 3');
		expect(says({ ...old, leader_seen: null })).toBe('node3 knows no leader in term 3');
		expect(says({ id: 'node1', role: 'leader', term: 3 })).toBe('node1 says it leads in term 3');
	});

	it('is unknown of a node that does not answer, and beside a cluster without a leader', () => {
		expect(says({ role: null, term: null, leader_seen: null })).toBeNull();
		expect(says({ leader_seen: 1 }, aCluster({ leader: null }))).toBeNull();
		expect(disagreement(aNode(), null, nameOf)).toBeNull();
	});
});

it('leads alone who takes itself for the leader where the cluster has none', () => {
	const leads = aNode({ role: 'leader' });
	expect(isAlone(leads, aCluster({ leader: null }))).toBe(true);
	expect(isAlone(leads, aCluster({ leader: 'node2' }))).toBe(false);
	expect(isAlone(aNode(), aCluster({ leader: null }))).toBe(false);
	expect(isAlone(leads, null)).toBe(false);
});

describe('the comparison', () => {
	const status = {
		cluster_id: 'c0ffee',
		leader: { id: 2, name: 'node2', address: '127.0.0.1:9010' },
		term: 4,
		voters: [3, 1, 2],
		learners: [],
		joint: false
	} as unknown as Status;

	it('marks nothing where they agree, whatever the order of the members', () => {
		expect(compare(status, aCluster(), nameOf).every((line) => line.same)).toBe(true);
	});

	it('marks what differs, and leaves open what one of them does not know', () => {
		const other = compare({ ...status, term: 3, leader: null }, aCluster(), nameOf);
		expect(other.find((line) => line.label === 'Term')).toEqual({
			label: 'Term',
			own: '3',
			cluster: '4',
			same: false
		});
		expect(other.find((line) => line.label === 'Leader')).toEqual({
			label: 'Leader',
			own: 'unknown',
			cluster: 'node2',
			same: null
		});
	});
});

describe('the members', () => {
	const member = {
		id: 3,
		name: 'node3',
		membership: 'voter',
		leader: false,
		address: '127.0.0.1:9020',
		peer_address: '127.0.0.1:9021',
		alive: true,
		version: '0.1.0',
		applied_index: 40
	};
	const members: Members = {
		members: [member, { ...member, id: 9, name: '#9' }],
		seen: []
	};
	const peers = [{ id: 3, matched: 39, lag: 1, alive: true, last_contact_ms: 20 }];
	const status = { node_id: 2, last_log_index: 40, peers } as unknown as Status;
	const view = (but: Parameters<typeof aNode>[0]) =>
		memberViews(status, members, [aNode({ id: 'node3', ...but })])[0];

	it('carry what the leader says of each, and no difference where there is none', () => {
		expect(view({})).toMatchObject({
			known: true,
			matched: 39,
			lag: 1,
			lastHeardMs: 20,
			others: { membership: null, answers: null }
		});
	});

	it('are marked where the cluster or the launcher sees something else', () => {
		expect(view({ membership: 'learner' })?.others.membership).toBe('learner');
		expect(view({ role: null })?.others.answers).toBe(false);
	});

	it('may be none of the launcher’s, of whom it knows nothing else', () => {
		const stranger = memberViews(status, members, [])[1];
		expect(stranger).toMatchObject({ known: false, lag: null, lastHeardMs: null });
		expect(stranger?.others).toEqual({ membership: null, answers: null });
	});
});
