// Shapes as the launcher tells them, for tests.

import type { Cluster, Event, Node, Operation, Snapshot } from '../api/types';

export function node(id: string, more: Partial<Node> = {}): Node {
	return {
		id,
		node_id: Number(id.replace(/\D/g, '')),
		address: '127.0.0.1:9000',
		peer_address: '127.0.0.1:9001',
		state: 'running',
		since: 1,
		desired_running: true,
		trouble: null,
		exit: null,
		failures: 0,
		next_start: null,
		pid: 1,
		started: 1,
		membership: 'voter',
		role: 'follower',
		ready: true,
		term: 1,
		vote: 1,
		leader_seen: 1,
		last_log: 1,
		committed: 1,
		applied: 1,
		matched: 1,
		lag: 0,
		snapshot: null,
		purged: null,
		quorum_ack_age_ms: null,
		probe_rtt_ms: 0.5,
		sync_p99_ms: 1,
		cpu: 0.1,
		rss: 1,
		disk: 1,
		disk_free: 1,
		disk_low: false,
		version: '0.1.0',
		...more
	};
}

export function cluster(more: Partial<Cluster> = {}): Cluster {
	return {
		id: 'c1',
		health: 'healthy',
		sentence: 'Healthy. 3 of 3 voters online; the cluster survives 1 more failure.',
		since: 1,
		term: 1,
		leader: 'node1',
		voters: ['node1', 'node2', 'node10'],
		learners: [],
		quorum: 2,
		online: 3,
		failures_tolerated: 1,
		committed: 1,
		joint: false,
		...more
	};
}

export function event(id: number): Event {
	const rest = { severity: 'info', kind: 'started', node: null, term: null } as const;
	return { id, t: id, ...rest, text: `event ${id}`, actor: 'launcher' };
}

export function operation(id: number, more: Partial<Operation> = {}): Operation {
	return {
		id,
		kind: 'stop',
		node: 'node1',
		actor: 'dashboard',
		state: 'running',
		steps: [],
		started: 1,
		ended: null,
		error: null,
		can_cancel: false,
		...more
	};
}

export function snapshot(more: Partial<Snapshot> = {}): Snapshot {
	return {
		epoch: 1,
		seq: 5,
		now: Date.now(),
		version: '0.1.0',
		cluster: cluster(),
		nodes: [node('node1', { role: 'leader' }), node('node10'), node('node2')],
		operations: [],
		events: [event(1), event(2)],
		ticks: [],
		...more
	};
}
