// The launcher's shapes, made of axon-launcher/src/wire.rs by its tests. Not written by hand:
// UPDATE=1 cargo test -p axon-launcher --lib wire && npm --prefix ui-svelte run format

/**
 * What a node is doing, in one word.
 */
export type State =
	| 'stopped'
	| 'starting'
	| 'running'
	| 'unhealthy'
	| 'crashed'
	| 'stopping'
	| 'decommissioning'
	| 'removed';

/**
 * A node, as `GET /api/v1/nodes` lists it and the stream's `node` event carries it.
 */
export type Node = {
	/**
	 * Its name.
	 */
	id: string;
	/**
	 * The id that the cluster gave it.
	 */
	node_id: number | null;
	/**
	 * Where its API answers.
	 */
	address: string;
	/**
	 * Where its peers reach it.
	 */
	peer_address: string;
	/**
	 * What it is doing.
	 */
	state: State;
	/**
	 * Since when.
	 */
	since: number;
	/**
	 * Whether it should run.
	 */
	desired_running: boolean;
	/**
	 * What is wrong, in a sentence.
	 */
	trouble: string | null;
	/**
	 * How its last process ended, if it did by itself.
	 */
	exit: Exit | null;
	/**
	 * How often in a row its process has ended by itself.
	 */
	failures: number;
	/**
	 * When a crashed one starts again; null: not by itself.
	 */
	next_start: number | null;
	/**
	 * Its process id while it runs.
	 */
	pid: number | null;
	/**
	 * When its process was started.
	 */
	started: number | null;
	/**
	 * `voter`, `learner` or `none`, by the best informed node that answers.
	 */
	membership: string | null;
	/**
	 * `leader`, `follower`, `candidate` or `learner`, by its own words.
	 */
	role: string | null;
	/**
	 * Whether it can serve linearizable reads.
	 */
	ready: boolean;
	/**
	 * Its Raft term.
	 */
	term: number | null;
	/**
	 * Whom it last voted for, by its id.
	 */
	vote: number | null;
	/**
	 * Whom it takes for the leader, by its id.
	 */
	leader_seen: number | null;
	/**
	 * The last entry of its log.
	 */
	last_log: number | null;
	/**
	 * The last entry that it knows to be committed.
	 */
	committed: number | null;
	/**
	 * The last entry that it has applied.
	 */
	applied: number | null;
	/**
	 * How far its log agrees with the leader's, as the leader says.
	 */
	matched: number | null;
	/**
	 * Entries behind the leader, as the leader says; null without a leader.
	 */
	lag: number | null;
	/**
	 * The last entry in its checkpoint.
	 */
	snapshot: number | null;
	/**
	 * Entries up to here are gone from its log.
	 */
	purged: number | null;
	/**
	 * How long ago a quorum answered it, if it leads.
	 */
	quorum_ack_age_ms: number | null;
	/**
	 * How long it took to answer the launcher's last question.
	 */
	probe_rtt_ms: number | null;
	/**
	 * The 99th percentile of its log's latest syncs.
	 */
	sync_p99_ms: number | null;
	/**
	 * Share of one processor that it uses.
	 */
	cpu: number | null;
	/**
	 * Memory that it uses, in bytes.
	 */
	rss: number | null;
	/**
	 * What its directory takes, in bytes.
	 */
	disk: number | null;
	/**
	 * Free bytes of the disk that its directory is on.
	 */
	disk_free: number | null;
	/**
	 * Whether that is too little for writes.
	 */
	disk_low: boolean | null;
	/**
	 * The version that it runs.
	 */
	version: string | null;
};

/**
 * How a process ended.
 */
export type Exit = {
	/**
	 * Its exit code, if it had one and it is known.
	 */
	code: number | null;
	/**
	 * The same in words.
	 */
	text: string;
	/**
	 * When.
	 */
	at: number;
	/**
	 * The last lines of its log at that moment.
	 */
	lines: Array<string>;
};

/**
 * How the cluster is.
 */
export type Health = 'healthy' | 'degraded' | 'no_leader' | 'no_quorum';

/**
 * The cluster, as `GET /api/v1/cluster` and the stream's `cluster` event show it.
 */
export type Cluster = {
	/**
	 * Its id.
	 */
	id: string;
	/**
	 * How it is, in a word.
	 */
	health: Health;
	/**
	 * How it is, in a sentence: what it can do now, and how many more failures it survives.
	 */
	sentence: string;
	/**
	 * Since when its health is this.
	 */
	since: number;
	/**
	 * The highest term known.
	 */
	term: number | null;
	/**
	 * The leader's name.
	 */
	leader: string | null;
	/**
	 * The names of the voters; an id without a known name stands as `#7`.
	 */
	voters: Array<string>;
	/**
	 * The names of the learners.
	 */
	learners: Array<string>;
	/**
	 * How many voters a decision needs.
	 */
	quorum: number;
	/**
	 * How many voters answer.
	 */
	online: number;
	/**
	 * How many more voters may fail before nothing can be decided; null while that is not known.
	 */
	failures_tolerated: number | null;
	/**
	 * The last entry known to be committed.
	 */
	committed: number | null;
	/**
	 * Whether a change of membership is half done.
	 */
	joint: boolean;
};

/**
 * How bad an event is.
 */
export type Severity = 'info' | 'warning' | 'error';

/**
 * Something that happened, as `GET /api/v1/events` lists it.
 */
export type Event = {
	/**
	 * Its number; grows by one, over restarts of the launcher too.
	 */
	id: number;
	/**
	 * When.
	 */
	t: number;
	/**
	 * How bad it is.
	 */
	severity: Severity;
	/**
	 * What kind of thing, such as `leader_elected`, `crashed`, `started`, `operation`.
	 */
	kind: string;
	/**
	 * The node that it is about.
	 */
	node: string | null;
	/**
	 * The Raft term it happened in.
	 */
	term: number | null;
	/**
	 * In a sentence.
	 */
	text: string;
	/**
	 * Who did it: `launcher` by itself, the cluster's node by its name, or who asked.
	 */
	actor: string;
	/**
	 * With `crashed`: how the process ended.
	 */
	exit?: Exit;
};

/**
 * How far an operation, or a step of one, has come.
 */
export type Progress = 'pending' | 'running' | 'done' | 'failed' | 'cancelled';

/**
 * A step of an operation.
 */
export type Step = {
	/**
	 * What is done, for people: `move leadership away from node1`.
	 */
	name: string;
	/**
	 * How far it has come.
	 */
	state: Progress;
	/**
	 * How long it took, or has taken so far.
	 */
	ms: number;
	/**
	 * What is waited for or was found, for people.
	 */
	note: string | null;
};

/**
 * Something that takes a while, as `GET /api/v1/operations/{id}` shows it.
 */
export type Operation = {
	/**
	 * Its number.
	 */
	id: number;
	/**
	 * `start`, `stop`, `restart`, `kill`, `promote`, `transfer`, `decommission`, `add` or
	 * `rolling_restart`.
	 */
	kind: string;
	/**
	 * The node that it is about; null: the whole cluster.
	 */
	node: string | null;
	/**
	 * Who asked for it.
	 */
	actor: string;
	/**
	 * How far it has come; never `pending`.
	 */
	state: Progress;
	/**
	 * Its steps, in order.
	 */
	steps: Array<Step>;
	/**
	 * When it began.
	 */
	started: number;
	/**
	 * When it ended.
	 */
	ended: number | null;
	/**
	 * Why it failed, in a sentence.
	 */
	error: string | null;
	/**
	 * Whether it can be cancelled now without harm.
	 */
	can_cancel: boolean;
};

/**
 * What an action would do: the answer to `?dry_run=true`.
 */
export type DryRun = {
	/**
	 * Whether it would be done.
	 */
	allowed: boolean;
	/**
	 * Why not, with the arithmetic.
	 */
	reason: string | null;
	/**
	 * What else to know before it is done.
	 */
	warnings: Array<string>;
	/**
	 * What it does to the quorum; null while nobody says who votes.
	 */
	effect: Effect | null;
	/**
	 * The steps that would be done, in words.
	 */
	steps: Array<string>;
};

/**
 * The quorum before and after an action.
 */
export type Effect = {
	/**
	 * Voters now.
	 */
	voters_before: number;
	/**
	 * Of them, how many answer.
	 */
	online_before: number;
	/**
	 * How many a decision needs now.
	 */
	needed_before: number;
	/**
	 * Voters after it.
	 */
	voters_after: number;
	/**
	 * Of them, how many would answer.
	 */
	online_after: number;
	/**
	 * How many a decision would need.
	 */
	needed_after: number;
	/**
	 * Whether leadership moves: away first, or to the node if that is the action.
	 */
	moves_leadership: boolean;
};

/**
 * One second of the cluster's work: the stream's `tick` event.
 */
export type Tick = {
	/**
	 * When.
	 */
	t: number;
	/**
	 * Reads answered in that second, over all nodes.
	 */
	reads: number | null;
	/**
	 * Writes acknowledged.
	 */
	writes: number | null;
	/**
	 * Requests that failed by a fault of the cluster (5xx).
	 */
	errors: number | null;
	/**
	 * The median of the writes' latencies, in milliseconds.
	 */
	write_p50_ms: number | null;
	/**
	 * Their 99th percentile.
	 */
	write_p99_ms: number | null;
	/**
	 * The 99th percentile of the reads' latencies.
	 */
	read_p99_ms: number | null;
	/**
	 * What each node did, by name.
	 */
	nodes: Record<string, NodeTick>;
};

/**
 * One second of one node.
 */
export type NodeTick = {
	/**
	 * Entries behind the leader.
	 */
	lag: number | null;
	/**
	 * Share of one processor.
	 */
	cpu: number | null;
	/**
	 * Memory, in bytes.
	 */
	rss: number | null;
	/**
	 * Bytes that its log takes on disk.
	 */
	log_bytes: number | null;
};

/**
 * The first message of a stream: everything as it is.
 */
export type Snapshot = {
	/**
	 * Tells starts of the launcher apart; ids of messages are `<epoch>-<seq>`.
	 */
	epoch: number;
	/**
	 * The number of the last message before this one.
	 */
	seq: number;
	/**
	 * The launcher's time.
	 */
	now: number;
	/**
	 * The launcher's version, so that an older page can tell.
	 */
	version: string;
	/**
	 * The cluster.
	 */
	cluster: Cluster;
	/**
	 * Its nodes.
	 */
	nodes: Array<Node>;
	/**
	 * Operations that run, and the latest that ended.
	 */
	operations: Array<Operation>;
	/**
	 * The latest 100 events.
	 */
	events: Array<Event>;
	/**
	 * Up to 15 minutes of ticks, oldest first.
	 */
	ticks: Array<Tick>;
};

/**
 * How bad it is.
 */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/**
 * A line, as it is shown.
 */
export type LogLine = {
	/**
	 * When it was written, in milliseconds since 1970, if it says so.
	 */
	time: number | null;
	/**
	 * How bad it is, if it says so.
	 */
	level: LogLevel | null;
	/**
	 * The line, without colours.
	 */
	text: string;
};
