// The servers' shapes against the examples that the servers' own tests hold them to. The compiler
// checks the left side, the test that it is the example.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { History, KeyValue, Members, Page, Problem, Status, WatchChange } from './types';

const EXAMPLES = '../axon-server/tests/fixtures';
const example = (name: string): unknown =>
	JSON.parse(readFileSync(`${EXAMPLES}/${name}.json`, 'utf8'));

const a: KeyValue = { key: 'a', value: '..', create_revision: 3, mod_revision: 17, version: 4 };

describe("the servers' shapes", () => {
	it('have envelopes', () => {
		const binary: KeyValue = {
			key: '/y8=',
			key_encoding: 'base64',
			value: 'AP8=',
			encoding: 'base64',
			create_revision: 3,
			mod_revision: 17,
			version: 4
		};
		expect(example('envelope')).toEqual(a);
		expect(example('envelope_base64')).toEqual(binary);
	});

	it('have pages, with folders and without', () => {
		const page: Page = { items: [a], next: 'c1.AbC', revision: 40, count: null };
		const listing: Page = {
			...page,
			prefixes: [
				{ prefix: 'a/', count: 2 },
				{ prefix: '/y8=', key_encoding: 'base64', count: 10_000, more: true }
			],
			next: null
		};
		expect(example('page')).toEqual(page);
		expect(example('listing')).toEqual(listing);
	});

	it('have histories', () => {
		const history: History = {
			versions: [{ key: 'a', mod_revision: 21, deleted: true }, a],
			next: 17
		};
		expect(example('history')).toEqual(history);
	});

	it('have changes', () => {
		const changes: WatchChange[] = [
			{
				type: 'put',
				key: 'a',
				value: '1\n',
				create_revision: 18,
				mod_revision: 18,
				version: 1
			},
			{
				type: 'delete',
				key: 'b',
				mod_revision: 18,
				previous: { key: 'b', value: 'old', create_revision: 3, mod_revision: 3, version: 1 }
			}
		];
		const told = readFileSync(`${EXAMPLES}/watch.sse`, 'utf8');
		const first = /^data: (.*)$/m.exec(told)?.[1] ?? '';
		expect(JSON.parse(first)).toEqual({ revision: 18, changes });
	});

	it('have problems', () => {
		const problem: Problem = {
			type: 'about:blank',
			title: 'No quorum',
			status: 503,
			error: '1 of 3 voters is reachable, 2 are needed',
			code: 'no_quorum',
			retryable: true,
			outcome: 'not_applied',
			details: { alive: 1, needed: 2 }
		};
		expect(example('problem')).toEqual(problem);
	});

	it('have members', () => {
		const node = {
			id: 1,
			name: 'node1',
			address: '127.0.0.1:9000',
			peer_address: '127.0.0.1:9001'
		};
		const heard = { ...node, alive: true, version: '0.1.0', applied_index: 40 };
		const members: Members = {
			members: [{ ...heard, membership: 'voter', leader: true }],
			seen: [{ ...heard, raft_state: 'leader', last_heard_ms: 120 }]
		};
		expect(example('members')).toEqual(members);
	});

	it('have what a node says of itself', () => {
		const status: Status = {
			cluster_id: '9f000000000000000000000000000001',
			node_id: 1,
			name: 'node1',
			raft_state: 'leader',
			membership: 'voter',
			leader: { id: 1, name: 'node1', address: '127.0.0.1:9000' },
			term: 3,
			revision: 17,
			compacted_revision: 0,
			last_log_index: 40,
			committed_index: 40,
			applied_index: 40,
			checkpoint_index: 30,
			purged_index: 10,
			vote: 1,
			quorum_ack_age_ms: 9,
			sync_p99_ms: 1.25,
			joint: false,
			quorum: { alive: 2, needed: 2, voters: 3, lost: false },
			peers: [
				{ id: 2, matched: 40, lag: 0, alive: true, last_contact_ms: 12 },
				{ id: 3, matched: null, lag: null, alive: false, last_contact_ms: null }
			],
			voters: [1, 2, 3],
			learners: [],
			state_hash: { applied_index: 40, hash: '0000000000000000000000000000abcd' },
			integrity: { noted_index: 35, scrubbed_index: 30, scrubbed_age_ms: 2_000, doubt: null },
			disk: { free: 5_000, total: 9_000, low: false },
			version: '0.1.0'
		};
		expect(example('status')).toEqual(status);
	});
});
