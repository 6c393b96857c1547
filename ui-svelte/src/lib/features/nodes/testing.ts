import type { Cluster, Node } from '$lib/api/types';

/** A voter that runs and answers, for tests; `but` says in what it differs. */
export function aNode(but: Partial<Node> = {}): Node {
	return {
		id: 'node1',
		node_id: 1,
		address: '127.0.0.1:9000',
		peer_address: '127.0.0.1:9001',
		state: 'running',
		since: 1_000,
		desired_running: true,
		trouble: null,
		exit: null,
		failures: 0,
		next_start: null,
		pid: 100,
		started: 1_000,
		membership: 'voter',
		role: 'follower',
		ready: true,
		term: 4,
		vote: 2,
		leader_seen: 2,
		last_log: 40,
		committed: 40,
		applied: 40,
		matched: 40,
		lag: 0,
		snapshot: 12,
		purged: 0,
		quorum_ack_age_ms: null,
		probe_rtt_ms: 0.4,
		sync_p99_ms: 1.2,
		cpu: 0.02,
		rss: 40_000_000,
		disk: 1_000_000,
		disk_free: 1_000_000_000,
		disk_low: false,
		version: '0.1.0',
		...but
	};
}

/** A healthy cluster of three that node2 leads, for tests. */
export function aCluster(but: Partial<Cluster> = {}): Cluster {
	return {
		id: 'c0ffee',
		health: 'healthy',
		sentence: 'Healthy. 3 of 3 voters online; the cluster survives 1 more failure.',
		since: 1_000,
		term: 4,
		leader: 'node2',
		voters: ['node1', 'node2', 'node3'],
		learners: [],
		quorum: 2,
		online: 3,
		failures_tolerated: 1,
		committed: 40,
		joint: false,
		...but
	};
}
