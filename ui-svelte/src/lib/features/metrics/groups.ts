// Which charts there are, and what they show: of each node, or of all together. Pure.
import type { LineSeries } from '$lib/charts/Line.svelte';
import { ledOnly, type Gap } from '$lib/charts/timeline';
import type { ChartTone } from '$lib/charts/tones';
import { bytes } from '$lib/format/bytes';
import { count, rate } from '$lib/format/count';
import type { NodeColumn, Seconds } from '$lib/live/series.svelte';
import type { Sampled, SampledField } from './sampled';

export type By = 'node' | 'all';

export interface Chart {
	title: string;
	sub: string;
	/** In the heads of its table. */
	unit: string;
	format: (value: number) => string;
	/** Whether it counts whole things. */
	whole?: boolean;
	series: LineSeries[];
}

export interface Group {
	name: string;
	/** What to know before reading its charts. */
	note: string;
	charts: Chart[];
}

interface Input {
	seconds: Seconds;
	sampled: Sampled;
	names: readonly string[];
	/** When nobody led. */
	gaps?: readonly Gap[];
	by: By;
}

/** Of nodes: told apart by colour, from the seventh on by dashes too; none of them means trouble. */
const TONES: readonly ChartTone[] = ['accent', 'series-2', 'warn', 'ok', 'peer', 'learn'];

export function combine(
	columns: readonly Float64Array[],
	length: number,
	how: 'sum' | 'greatest'
): Float64Array {
	const all = new Float64Array(length).fill(NaN);
	for (const column of columns) {
		for (let i = 0; i < length; i++) {
			const value = column[i] ?? NaN;
			const known = all[i] ?? NaN;
			if (Number.isNaN(value)) continue;
			if (Number.isNaN(known)) all[i] = value;
			else all[i] = how === 'sum' ? known + value : Math.max(known, value);
		}
	}
	return all;
}

const ms = (value: number) => (value < 9.95 ? String(Math.round(value * 10) / 10) : count(value));
const percent = (share: number) => `${String(Math.round(share * 100))}%`;

export function groups({ seconds, sampled, names, gaps = [], by }: Input): Group[] {
	const { t } = seconds;
	const cluster = (column: Parameters<Seconds['column']>[0], label: string, tone: ChartTone) => ({
		label,
		tone,
		values: seconds.column(column)
	});
	const lines = (how: 'sum' | 'greatest', column: (name: string) => Float64Array): LineSeries[] => {
		const columns = names.map(column);
		if (by === 'all') {
			const label = how === 'sum' ? 'all nodes' : 'greatest';
			return [{ label, tone: 'accent', values: combine(columns, t.length, how) }];
		}
		return columns.map((values, i) => ({
			label: names[i] ?? '',
			tone: TONES[i % TONES.length] ?? 'accent',
			values,
			dash: i >= TONES.length
		}));
	};
	const ticked = (how: 'sum' | 'greatest', column: NodeColumn) =>
		lines(how, (name) => seconds.nodeColumn(name, column));
	const noted = (how: 'sum' | 'greatest', field: SampledField) =>
		lines(how, (name) => sampled.column(t, name, field));

	return [
		{
			name: 'Requests',
			note: 'Counted over all nodes.',
			charts: [
				{
					title: 'Throughput',
					sub: 'requests/s',
					unit: 'a second',
					format: rate,
					series: [cluster('reads', 'reads', 'series-2'), cluster('writes', 'writes', 'accent')]
				},
				{
					title: 'Errors',
					sub: 'requests/s that the cluster failed',
					unit: 'a second',
					format: rate,
					series: [cluster('errors', 'errors', 'crit')]
				},
				{
					title: 'Write latency',
					sub: 'ms',
					unit: 'ms',
					format: ms,
					series: [
						cluster('write_p99_ms', 'p99', 'accent'),
						{ ...cluster('write_p50_ms', 'p50', 'series-2'), dash: true }
					]
				},
				{
					title: 'Read latency',
					sub: 'ms',
					unit: 'ms',
					format: ms,
					series: [cluster('read_p99_ms', 'p99', 'series-2')]
				}
			]
		},
		{
			name: 'Raft',
			note: 'How far behind a node is, is the leader’s word; without a leader it is not known.',
			charts: [
				{
					title: 'Replication lag',
					sub: by === 'all' ? 'entries behind, slowest node' : 'entries behind',
					unit: 'entries',
					whole: true,
					format: rate,
					series: lines('greatest', (name) => ledOnly(t, seconds.nodeColumn(name, 'lag'), gaps))
				},
				{
					title: 'Commits',
					sub: 'entries/s, since this page was opened',
					unit: 'entries a second',
					format: rate,
					series: [{ label: 'committed', tone: 'accent', values: sampled.commits(t) }]
				}
			]
		},
		{
			name: 'Storage',
			note: '',
			charts: [
				{
					title: 'Log size',
					sub: 'on disk',
					unit: '',
					format: bytes,
					series: ticked('sum', 'log_bytes')
				},
				{
					title: 'Sync p99',
					sub: 'ms, since this page was opened',
					unit: 'ms',
					format: ms,
					series: noted('greatest', 'sync_p99_ms')
				},
				{
					title: 'Data directory',
					sub: 'on disk, since this page was opened',
					unit: '',
					format: bytes,
					series: noted('sum', 'disk')
				}
			]
		},
		{
			name: 'Process',
			note: '',
			charts: [
				{
					title: 'CPU',
					sub: 'share of one processor',
					unit: '',
					format: percent,
					series: ticked('sum', 'cpu')
				},
				{
					title: 'Memory',
					sub: 'resident',
					unit: '',
					format: bytes,
					series: ticked('sum', 'rss')
				},
				{
					title: 'Answer time',
					sub: 'ms to answer the launcher, since this page was opened',
					unit: 'ms',
					format: ms,
					series: noted('greatest', 'probe_rtt_ms')
				}
			]
		}
	];
}
