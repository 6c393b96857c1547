// The nodes' table: its columns, the order of its rows, and which of them are shown. Pure.

import type { Node, State } from '$lib/api/types';

export interface Column {
	id: ColumnId;
	label: string;
	/** Why the column says what it says, for those whose name does not tell. */
	hint?: string;
	numeric?: boolean;
	/** Whether it is shown until somebody chooses otherwise. */
	shown: boolean;
	/** What rows are ordered by; null is unknown, and comes last either way. */
	value: (node: Node, now: number) => number | string | null;
}

export type ColumnId =
	| 'node'
	| 'role'
	| 'state'
	| 'log'
	| 'lag'
	| 'heartbeat'
	| 'cpu'
	| 'memory'
	| 'disk'
	| 'uptime'
	| 'term'
	| 'sync'
	| 'version'
	| 'pid';

export interface Sort {
	column: ColumnId;
	descending: boolean;
}

/** Who leads comes first, then who votes, as people look for them. */
const ROLE_ORDER: Record<string, number> = { leader: 0, candidate: 1, follower: 2, learner: 3 };

/** What needs a look comes first. */
const STATE_ORDER: Record<State, number> = {
	crashed: 0,
	unhealthy: 1,
	removed: 2,
	decommissioning: 3,
	stopping: 4,
	starting: 5,
	stopped: 6,
	running: 7
};

export const STATE_LABEL: Record<State, string> = {
	running: 'Online',
	starting: 'Starting',
	unhealthy: 'Unreachable',
	crashed: 'Crashed',
	stopping: 'Stopping',
	stopped: 'Stopped',
	decommissioning: 'Decommissioning',
	removed: 'Removed'
};

export const COLUMNS: readonly Column[] = [
	{ id: 'node', label: 'Node', shown: true, value: (node) => node.id },
	{
		id: 'role',
		label: 'Role',
		shown: true,
		value: (node) => (node.role === null ? null : (ROLE_ORDER[node.role] ?? 9))
	},
	{ id: 'state', label: 'Status', shown: true, value: (node) => STATE_ORDER[node.state] },
	{ id: 'log', label: 'Log position', shown: true, value: (node) => node.last_log },
	{
		id: 'lag',
		label: 'Lag',
		hint: 'Entries behind the leader, as the leader says',
		numeric: true,
		shown: true,
		value: (node) => node.lag
	},
	{
		id: 'heartbeat',
		label: 'Heartbeat',
		hint: 'How long the node took to answer the launcher’s last question',
		numeric: true,
		shown: true,
		value: (node) => node.probe_rtt_ms
	},
	{
		id: 'cpu',
		label: 'CPU',
		hint: 'Share of one processor',
		numeric: true,
		shown: true,
		value: (node) => node.cpu
	},
	{ id: 'memory', label: 'Memory', numeric: true, shown: true, value: (node) => node.rss },
	{ id: 'disk', label: 'Disk', numeric: true, shown: true, value: (node) => node.disk },
	{ id: 'uptime', label: 'Uptime', numeric: true, shown: true, value: uptime },
	{ id: 'term', label: 'Term', numeric: true, shown: false, value: (node) => node.term },
	{
		id: 'sync',
		label: 'Sync p99',
		hint: 'The 99th percentile of its log’s latest syncs to disk',
		numeric: true,
		shown: false,
		value: (node) => node.sync_p99_ms
	},
	{ id: 'version', label: 'Version', shown: false, value: (node) => node.version },
	{ id: 'pid', label: 'Process', numeric: true, shown: false, value: (node) => node.pid }
];

/** How long a node's process has run; null while none runs. */
export function uptime(node: Node, now: number): number | null {
	return node.pid === null || node.started === null ? null : Math.max(0, now - node.started);
}

const names = new Intl.Collator('en', { numeric: true });

/** The nodes in the order of a column; equals stay in the order of their names. */
export function sorted(nodes: readonly Node[], sort: Sort, now: number): Node[] {
	const value = COLUMNS.find((column) => column.id === sort.column)?.value ?? ((node) => node.id);
	const sign = sort.descending ? -1 : 1;
	return [...nodes].sort((a, b) => {
		const byName = names.compare(a.id, b.id);
		const [x, y] = [value(a, now), value(b, now)];
		if (x === null || y === null) {
			return x === y ? byName : Number(x === null) - Number(y === null);
		}
		const difference =
			typeof x === 'number' && typeof y === 'number' ? x - y : names.compare(String(x), String(y));
		return difference === 0 ? byName : sign * difference;
	});
}

/** The nodes of a state whose name, address or trouble holds the words searched for. */
export function filtered(nodes: readonly Node[], search: string, state: State | 'all'): Node[] {
	const words = search.toLowerCase().split(/\s+/).filter(Boolean);
	return nodes.filter((node) => {
		if (state !== 'all' && node.state !== state) return false;
		const { id, address, role, membership, version, trouble } = node;
		const text = [id, address, role, membership, version, trouble, STATE_LABEL[node.state]];
		const said = text.join(' ').toLowerCase();
		return words.every((word) => said.includes(word));
	});
}

/** Turns a column's order on, then around. Figures begin with the greatest, as people look for it. */
export function nextSort(current: Sort, column: Column): Sort {
	if (current.column !== column.id) {
		return { column: column.id, descending: column.numeric ?? false };
	}
	return { column: column.id, descending: !current.descending };
}

/** A share of one processor in whole percent. */
export function percent(share: number | null): number | null {
	return share === null ? null : Math.round(share * 100);
}
