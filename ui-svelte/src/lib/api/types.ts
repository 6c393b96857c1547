// The shapes of the API. Times are milliseconds since 1970 by the launcher's clock; what is not
// known is null, never 0.

export type State =
	| 'stopped'
	| 'starting'
	| 'running'
	| 'unhealthy'
	| 'crashed'
	| 'stopping'
	| 'decommissioning'
	| 'removed';

export interface Node {
	id: string;
	node_id: number | null;
	address: string;
	peer_address: string;
	state: State;
	since: number;
	desired_running: boolean;
	trouble: string | null;
	exit: Exit | null;
	failures: number;
	next_start: number | null;
	pid: number | null;
	started: number | null;
	membership: string | null;
	role: string | null;
	ready: boolean;
	term: number | null;
	vote: number | null;
	leader_seen: number | null;
	last_log: number | null;
	committed: number | null;
	applied: number | null;
	matched: number | null;
	lag: number | null;
	snapshot: number | null;
	purged: number | null;
	quorum_ack_age_ms: number | null;
	probe_rtt_ms: number | null;
	sync_p99_ms: number | null;
	cpu: number | null;
	rss: number | null;
	disk: number | null;
	disk_free: number | null;
	disk_low: boolean | null;
	version: string | null;
}

export interface Exit {
	code: number | null;
	text: string;
	at: number;
	lines: string[];
}

export type Health = 'healthy' | 'degraded' | 'no_leader' | 'no_quorum';

export interface Cluster {
	id: string;
	health: Health;
	sentence: string;
	since: number;
	term: number | null;
	leader: string | null;
	voters: string[];
	learners: string[];
	quorum: number;
	online: number;
	failures_tolerated: number | null;
	committed: number | null;
	joint: boolean;
}

export type Severity = 'info' | 'warning' | 'error';

export interface Event {
	id: number;
	t: number;
	severity: Severity;
	kind: string;
	node: string | null;
	term: number | null;
	text: string;
	actor: string;
	exit?: Exit;
}

export type Progress = 'pending' | 'running' | 'done' | 'failed' | 'cancelled';

export interface Step {
	name: string;
	state: Progress;
	ms: number;
	note: string | null;
}

export interface Operation {
	id: number;
	kind: string;
	node: string | null;
	actor: string;
	state: Progress;
	steps: Step[];
	started: number;
	ended: number | null;
	error: string | null;
	can_cancel: boolean;
}

export interface DryRun {
	allowed: boolean;
	reason: string | null;
	warnings: string[];
	effect: Effect | null;
	steps: string[];
}

export interface Effect {
	voters_before: number;
	online_before: number;
	needed_before: number;
	voters_after: number;
	online_after: number;
	needed_after: number;
	moves_leadership: boolean;
}

export interface Tick {
	t: number;
	reads: number | null;
	writes: number | null;
	errors: number | null;
	write_p50_ms: number | null;
	write_p99_ms: number | null;
	read_p99_ms: number | null;
	nodes: Record<string, NodeTick>;
}

export interface NodeTick {
	lag: number | null;
	cpu: number | null;
	rss: number | null;
	log_bytes: number | null;
}

export interface Snapshot {
	epoch: number;
	seq: number;
	now: number;
	version: string;
	cluster: Cluster;
	nodes: Node[];
	operations: Operation[];
	events: Event[];
	ticks: Tick[];
}

/** A line of a node's log. */
export interface LogLine {
	time: number | null;
	level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | null;
	text: string;
}

/** Stands beside a key or value that is not text, and is therefore written in base64. */
export type Encoding = 'base64';

/** A key with its value: the envelope. */
export interface KeyValue {
	key: string;
	key_encoding?: Encoding;
	value?: string;
	encoding?: Encoding;
	value_bytes?: number;
	create_revision: number;
	mod_revision: number;
	version: number;
}

/** A key that is gone. */
export interface Tombstone {
	key: string;
	key_encoding?: Encoding;
	mod_revision: number;
	deleted: true;
}

export type HistoryEntry = KeyValue | Tombstone;

export interface History {
	versions: HistoryEntry[];
	next: number | null;
}

export interface Folder {
	prefix: string;
	key_encoding?: Encoding;
	count: number;
	/** Counting ended here: there may be more. */
	more?: true;
}

export interface Page {
	items: KeyValue[];
	prefixes?: Folder[];
	next: string | null;
	revision: number;
	count: number | null;
}

export interface Put {
	revision: number;
	previous_revision: number | null;
}

export interface Delete {
	deleted: number;
	revision: number;
}

export type WatchChange =
	| (KeyValue & { type: 'put'; previous?: KeyValue })
	| {
			type: 'delete';
			key: string;
			key_encoding?: Encoding;
			mod_revision: number;
			previous?: KeyValue;
	  };

/** An error, as RFC 9457 has it. */
export interface Problem {
	type: string;
	title: string;
	status: number;
	error: string;
	code: string;
	retryable: boolean;
	outcome?: 'not_applied' | 'unknown';
	details: Record<string, unknown>;
}

export interface Member {
	id: number;
	name: string;
	membership: string;
	leader: boolean;
	address: string;
	peer_address: string;
	alive: boolean;
	version: string | null;
	applied_index: number | null;
}

export interface SeenNode {
	id: number | null;
	name: string;
	address: string;
	peer_address: string;
	version: string | null;
	raft_state: string | null;
	applied_index: number | null;
	alive: boolean;
	last_heard_ms: number | null;
}

export interface Members {
	members: Member[];
	seen: SeenNode[];
}

export interface Peer {
	id: number;
	matched: number | null;
	lag: number | null;
	alive: boolean;
	last_contact_ms: number | null;
}

/** What a node says of itself. */
export interface Status {
	cluster_id: string;
	node_id: number;
	name: string;
	raft_state: string;
	membership: string;
	leader: { id: number; name: string; address: string } | null;
	term: number;
	revision: number;
	compacted_revision: number;
	last_log_index: number;
	committed_index: number;
	applied_index: number;
	checkpoint_index: number;
	purged_index: number;
	vote: number | null;
	quorum_ack_age_ms: number | null;
	sync_p99_ms: number;
	joint: boolean;
	quorum: { alive: number; needed: number; voters: number; lost: boolean };
	peers: Peer[];
	voters: number[];
	learners: number[];
	state_hash: { applied_index: number; hash: string };
	disk: { free: number; total: number; low: boolean } | null;
	version: string;
}
