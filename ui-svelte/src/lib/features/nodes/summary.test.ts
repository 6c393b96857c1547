import { describe, expect, it } from 'vitest';
import type { Fact } from './Facts.svelte';
import { configurationFacts, processFacts, raftFacts, storageFacts } from './summary';
import { aCluster, aNode } from './testing';

const nameOf = (id: number | null) => (id !== null && id <= 3 ? `node${id}` : null);
const values = (facts: Fact[]) =>
	Object.fromEntries(facts.map(({ label, value }) => [label, value]));

describe('the summary of a node', () => {
	it('names whom it votes for and follows, by their names or their ids', () => {
		const raft = values(raftFacts(aNode({ vote: 9 }), nameOf));
		expect(raft).toMatchObject({ Vote: '#9', 'Leader it sees': 'node2', Lag: '0', Term: '4' });
		expect(raft).not.toHaveProperty('Quorum answered');
	});

	it('leaves unknown what a node that is silent does not say', () => {
		const silent = aNode({ role: null, term: null, last_log: null, vote: null, lag: 5 });
		const raft = values(raftFacts(silent, nameOf));
		expect(raft).toMatchObject({ Term: null, 'Last log': null, Vote: null, Lag: '5' });
		expect(values(storageFacts(aNode({ disk_free: null }), null))).toMatchObject({
			Log: null,
			'Free on its disk': null
		});
	});

	it('has a dash where no process runs, and no figure that is 0', () => {
		const down = aNode({ pid: null, started: null, cpu: null, rss: null, probe_rtt_ms: null });
		expect(values(processFacts(down, 5_000))).toMatchObject({
			'Process id': '–',
			Uptime: '–',
			CPU: '–',
			Memory: '–',
			Heartbeat: '–'
		});
	});

	it('says when a process that keeps ending starts again', () => {
		const node = aNode({ pid: null, failures: 3, next_start: 9_000 });
		expect(values(processFacts(node, 5_000))).toMatchObject({
			'Ended by itself': '3 in a row',
			'Starts again': 'in 4 s'
		});
	});

	it('calls the membership by its words', () => {
		const member = values(configurationFacts(aNode({ membership: 'none' }), aCluster()));
		expect(member).toMatchObject({ Membership: 'not a member', Cluster: 'c0ffee' });
	});
});
