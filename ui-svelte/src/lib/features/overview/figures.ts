// What the Overview works out of what the launcher tells. Pure.
import type { Mark } from '$lib/charts/marks';
import type { Cluster, Event, Node } from '$lib/api/types';

/** The cluster's sentence: what it is, and what that means. */
export function splitSentence(sentence: string): { head: string; rest: string } {
	const end = sentence.indexOf('. ');
	return end === -1
		? { head: sentence.replace(/\.$/, ''), rest: '' }
		: { head: sentence.slice(0, end), rest: sentence.slice(end + 2) };
}

/** Second by second the greatest of several columns; unknown where all are. */
export function slowest(columns: readonly Float64Array[], length: number): Float64Array {
	const most = new Float64Array(length).fill(NaN);
	for (const column of columns) {
		column.forEach((value, i) => {
			const known = most[i] ?? NaN;
			if (!Number.isNaN(value) && !(known >= value)) most[i] = value;
		});
	}
	return most;
}

/** How many there were since `since`, of a column that says how many a second. */
export function countSince(t: Float64Array, values: Float64Array, since: number): number | null {
	let sum = 0;
	let known = false;
	values.forEach((value, i) => {
		if ((t[i] ?? 0) <= since || Number.isNaN(value)) return;
		sum += value;
		known = true;
	});
	return known ? Math.round(sum) : null;
}

/** The mean of what is known. */
export function mean(values: Float64Array): number | null {
	const known = values.filter((value) => !Number.isNaN(value));
	return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** Elections and losses of the quorum, to be marked in a chart. */
export function clusterMarks(events: readonly Event[]): Mark[] {
	const marks: Mark[] = [];
	for (const { kind, t, term, node } of events) {
		if (kind === 'leader_elected') {
			const words = term === null ? 'new term' : `term ${String(term)}`;
			marks.push({ t, text: node === null ? words : `${words} · ${node} elected`, tone: 'accent' });
		} else if (kind === 'quorum_lost') marks.push({ t, text: 'quorum lost', tone: 'crit' });
		else if (kind === 'quorum_back') marks.push({ t, text: 'quorum back', tone: 'ok' });
	}
	return marks;
}

/** When a node's log was cut off at its beginning. */
export function purgeMarks(events: readonly Event[], node: string | null): Mark[] {
	return events
		.filter((event) => event.kind === 'purged' && event.node === node)
		.map(({ t }) => ({ t, text: 'purged', tone: 'muted' }));
}

/** When the one who leads was elected; null when that was before anyone wrote it down. */
export function leadingSince(events: readonly Event[], cluster: Cluster): number | null {
	const election = events.find(
		({ kind, node, term }) =>
			kind === 'leader_elected' && node === cluster.leader && term === cluster.term
	);
	return election?.t ?? null;
}

/** Who led last, by the newest election that is written down. */
export function lastLeader(events: readonly Event[]): string | null {
	return events.find((event) => event.kind === 'leader_elected')?.node ?? null;
}

/** Entries that the slowest voter is behind, as the leader says; null while it says nothing. */
export function greatestLag(cluster: Cluster, nodes: readonly Node[]): number | null {
	const leader = cluster.leader;
	if (leader === null) return null;
	let most: number | null = null;
	for (const { id, lag } of nodes) {
		if (id !== leader && lag !== null && cluster.voters.includes(id)) {
			most = Math.max(most ?? 0, lag);
		}
	}
	return most;
}

/** Of two lists of events, newest first, one without repetitions. */
export function merged(a: readonly Event[], b: readonly Event[]): Event[] {
	const byId = new Map([...a, ...b].map((event) => [event.id, event]));
	return [...byId.values()].sort((x, y) => y.t - x.t || y.id - x.id);
}

/** `5 voters, 1 learner`, and what else stands in the table. */
export function membersWords(cluster: Cluster, nodes: readonly Node[]): string {
	const some = (count: number, word: string) => `${String(count)} ${word}${count === 1 ? '' : 's'}`;
	const members = new Set([...cluster.voters, ...cluster.learners]);
	const others = nodes.filter(({ id, state }) => state !== 'removed' && !members.has(id)).length;
	return [
		some(cluster.voters.length, 'voter'),
		...(cluster.learners.length > 0 ? [some(cluster.learners.length, 'learner')] : []),
		...(others > 0 ? [`${String(others)} not a member yet`] : [])
	].join(', ');
}
