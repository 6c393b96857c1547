// The shapes of the API. Times are milliseconds since 1970 by the launcher's clock; what is not
// known is null, never 0. Those of the launcher are in `wire.ts`; those of the servers are held against
// the servers' own examples by `types.test.ts`.

export type * from './wire';

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
	integrity: {
		noted_index: number | null;
		scrubbed_index: number | null;
		scrubbed_age_ms: number | null;
		doubt: string | null;
	};
	disk: { free: number; total: number; low: boolean } | null;
	version: string;
}
