// Where a node's log ends, as shares of a lane that shows the last entries up to the head.

/** What a lane shows, in percent of its width from the left. */
export interface Lane {
	/** Up to here: replicated and committed. */
	committed: number;
	/** Up to here: appended; what lies beyond `committed` is not committed. */
	appended: number;
	/** Whether the log ends before what the lane's scale shows, so that its left part is compressed. */
	broken: boolean;
}

export interface LaneInput {
	/** The last entry of the node's log that agrees with the leader's. */
	end: number | null;
	/** The last entry of the longest log. */
	head: number | null;
	/** The last entry known to be committed; null: not known. */
	committed: number | null;
	/** How many entries the lane shows. */
	window: number;
}

/** Where the slanted break stands. */
export const BREAK_AT = 12;
/** A log beyond the window never looks as if it were almost there. */
const BROKEN_MAX = 84;

const WINDOWS = [64, 256, 1_024, 4_096];

/** The smallest window that holds all of `lags`; those beyond the largest get a break. */
export function laneWindow(lags: Iterable<number | null>): number {
	const largest = WINDOWS[WINDOWS.length - 1] ?? 0;
	let most = 0;
	for (const lag of lags) {
		if (lag !== null && lag <= largest) most = Math.max(most, lag);
	}
	return WINDOWS.find((window) => most <= window) ?? largest;
}

/** What the lane shows; null while it is not known where the log ends. */
export function lane({ end, head, committed, window }: LaneInput): Lane | null {
	if (end === null || head === null) return null;
	// A log that is ahead of the head was read a moment later.
	const last = Math.min(end, head);
	const begin = Math.max(0, head - window);
	const broken = last < begin;
	const at = (index: number) => {
		if (broken) return BREAK_AT + (head === 0 ? 0 : index / head) * (BROKEN_MAX - BREAK_AT);
		return head === begin ? 100 : (Math.max(0, index - begin) / (head - begin)) * 100;
	};
	return { committed: at(Math.min(last, committed ?? 0)), appended: at(last), broken };
}

/** What a lane has to know of a node. */
export interface LaneNode {
	id: string;
	last_log: number | null;
	committed: number | null;
	lag: number | null;
}

/** Up to where lanes go, and what of that is committed. */
export interface LaneScale {
	head: number | null;
	committed: number | null;
}

/**
 * The leader's log and its commits, both of one moment: nodes are heard of one after the other, and
 * entries come faster than that. Without a leader, the longest log and the last word of the cluster.
 */
export function laneScale(
	cluster: { leader: string | null; committed: number | null },
	nodes: readonly LaneNode[]
): LaneScale {
	const leader = nodes.find((node) => node.id === cluster.leader);
	if (leader && leader.last_log !== null) {
		return { head: leader.last_log, committed: leader.committed ?? cluster.committed };
	}
	const ends = nodes.flatMap(({ last_log }) => last_log ?? []);
	return { head: ends.length > 0 ? Math.max(...ends) : null, committed: cluster.committed };
}

/**
 * Where a node's log ends, as the leader says. Of one that is down, by its own last word if that was
 * heard: a leader that has never reached it only supposes.
 */
export function laneEnd(node: LaneNode, head: number | null, lastEnd: number | null) {
	if (node.last_log === null && lastEnd !== null) return lastEnd;
	if (node.lag !== null && head !== null) return Math.max(0, head - node.lag);
	return node.last_log;
}
