// What the Summary tab says of a node. Pure; what is not known stays null.

import type { Cluster, Node } from '$lib/api/types';
import { bytes } from '$lib/format/bytes';
import { count } from '$lib/format/count';
import { age, duration } from '$lib/format/duration';
import { dateTime } from '$lib/format/time';
import type { Fact } from './Facts.svelte';
import { percent, uptime } from './table';

type NameOf = (id: number | null) => string | null;

const said = <T>(value: T | null, text: (value: T) => string): string | null =>
	value === null ? null : text(value);

/** What is only told while a process answers is neither known nor unknown while none runs. */
function ofProcess<T>(node: Node, value: T | null, text: (value: T) => string): string | null {
	return node.pid === null ? '–' : said(value, text);
}

export function raftFacts(node: Node, nameOf: NameOf): Fact[] {
	const named = (id: number) => nameOf(id) ?? `#${id}`;
	const facts: Fact[] = [
		{ label: 'Term', value: said(node.term, count) },
		{ label: 'Leader it sees', value: said(node.leader_seen, named) },
		{ label: 'Vote', value: said(node.vote, named), hint: 'Whom it last voted for' },
		{ label: 'Last log', value: said(node.last_log, count), hint: 'The last entry of its log' },
		{
			label: 'Committed',
			value: said(node.committed, count),
			hint: 'The last entry that it knows to be committed'
		},
		{ label: 'Applied', value: said(node.applied, count) },
		{
			label: 'Matched',
			value: said(node.matched, count),
			note: node.matched === null ? null : 'by the leader’s word'
		},
		{
			label: 'Lag',
			value: said(node.lag, count),
			hint: 'Entries behind, as the leader says'
		},
		{
			label: 'Snapshot',
			value: said(node.snapshot, count),
			hint: 'The last entry in its checkpoint'
		},
		{ label: 'Purged', value: said(node.purged, count), hint: 'Entries up to here left its log' }
	];
	if (node.role === 'leader') {
		const answered = said(node.quorum_ack_age_ms, (ms) => `${duration(ms)} ago`);
		facts.push({ label: 'Quorum answered', value: answered });
	}
	return facts;
}

export function storageFacts(node: Node, logBytes: number | null): Fact[] {
	return [
		{ label: 'Data directory', value: said(node.disk, bytes) },
		{ label: 'Log', value: said(logBytes, bytes), hint: 'What its log takes on disk' },
		{
			label: 'Free on its disk',
			value: said(node.disk_free, bytes),
			note: node.disk_low ? 'too little for writes' : null,
			tone: node.disk_low ? 'crit' : undefined
		},
		{
			label: 'Sync p99',
			value: said(node.sync_p99_ms, duration),
			hint: 'The 99th percentile of its log’s latest syncs to disk'
		}
	];
}

export function processFacts(node: Node, now: number): Fact[] {
	const facts: Fact[] = [
		{ label: 'Should run', value: node.desired_running ? 'yes' : 'no', words: true },
		{ label: 'Process id', value: node.pid === null ? '–' : String(node.pid) },
		{ label: 'Started', value: ofProcess(node, node.started, dateTime) },
		{ label: 'Uptime', value: ofProcess(node, uptime(node, now), age) },
		{
			label: 'CPU',
			value: ofProcess(node, percent(node.cpu), (share) => `${share}%`),
			note: node.cpu === null ? null : 'of one processor'
		},
		{ label: 'Memory', value: ofProcess(node, node.rss, bytes) },
		{
			label: 'Heartbeat',
			value: ofProcess(node, node.probe_rtt_ms, duration),
			hint: 'How long it took to answer the launcher’s last question'
		},
		{ label: 'Version', value: node.version }
	];
	if (node.failures > 0) {
		facts.push({ label: 'Ended by itself', value: `${node.failures} in a row`, tone: 'warn' });
	}
	if (node.next_start !== null) {
		facts.push({ label: 'Starts again', value: `in ${age(Math.max(0, node.next_start - now))}` });
	}
	return facts;
}

export function configurationFacts(node: Node, cluster: Cluster | null): Fact[] {
	const part = { voter: 'voter', learner: 'learner', none: 'not a member' };
	const membership = node.membership as keyof typeof part | null;
	return [
		{ label: 'API address', value: node.address, copy: true },
		{ label: 'Peer address', value: node.peer_address, copy: true },
		{ label: 'Id in the cluster', value: said(node.node_id, String) },
		{
			label: 'Membership',
			value: said(membership, (word) => part[word] ?? word),
			words: true,
			hint: 'By the best informed node that answers'
		},
		{ label: 'Cluster', value: cluster?.id ?? null, copy: true }
	];
}
