// What the palette offers for what was typed.

import KeyRound from '@lucide/svelte/icons/key-round';
import Plus from '@lucide/svelte/icons/plus';
import Server from '@lucide/svelte/icons/server';
import { goto } from '$app/navigation';
import { getPage } from '$lib/api/kv';
import type { Node } from '$lib/api/types';
import { dataHref } from '$lib/features/data/address';
import { nodeActions, openAddNode } from '$lib/features/nodes/actions.svelte';
import { PAGES } from '$lib/features/shell/pages';
import { display, toBytes } from '$lib/format/key';
import { live } from '$lib/live/cluster.svelte';
import type { Icon } from '$lib/ui/types';
import { matches } from './match';

export type Command = {
	group: 'Pages' | 'Nodes' | 'Actions' | 'Keys';
	label: string;
	icon: Icon;
	/** Beside the label. */
	note?: string | undefined;
	keys?: string | undefined;
	mono?: boolean | undefined;
	disabledReason?: string | null | undefined;
	run: () => void;
};

/** How many of a group are shown while nothing is typed. */
const FIRST = 4;
const KEYS_MAX = 6;

const pages = (): Command[] =>
	PAGES.map(({ href, label, icon, keys }) => ({
		group: 'Pages',
		label,
		icon,
		keys,
		run: () => void goto(href)
	}));

const nodes = (all: readonly Node[]): Command[] =>
	all.map((node) => ({
		group: 'Nodes',
		label: node.id,
		note: [node.role ?? node.membership, node.address].filter(Boolean).join(' · '),
		icon: Server,
		mono: true,
		run: () => void goto(`/nodes/${node.id}`)
	}));

const actions = (all: readonly Node[]): Command[] => [
	{ group: 'Actions', label: 'Add node', icon: Plus, run: openAddNode },
	...all.flatMap((node) =>
		nodeActions(node).map(({ label, icon, disabledReason, onselect }): Command => ({
			group: 'Actions',
			label: `${label} · ${node.id}`,
			icon: icon ?? Server,
			disabledReason,
			run: () => onselect?.()
		}))
	)
];

/** What is known here and fits; with nothing typed, a few of each. */
export function commands(query: string, all: readonly Node[]): Command[] {
	const groups = [pages(), nodes(all), actions(all)];
	if (query.trim() === '') {
		const [first = [], ...others] = groups;
		return [...first, ...others.flatMap((group) => group.slice(0, FIRST))];
	}
	return groups
		.flat()
		.filter(({ label, note = '', group }) => matches(query, `${label} ${note} ${group}`));
}

/** The first keys that begin with what was typed. */
export async function keysOf(query: string, signal: AbortSignal): Promise<Command[]> {
	const { items } = await getPage(
		{
			prefix: toBytes(query),
			limit: KEYS_MAX,
			keysOnly: true,
			// Without a leader, what one node knows is better than nothing.
			consistency: live.canWrite.ok ? 'linearizable' : 'local'
		},
		signal
	);
	return items.map(({ key }) => ({
		group: 'Keys',
		label: display(key).text,
		icon: KeyRound,
		mono: true,
		run: () => void goto(dataHref({ key }))
	}));
}
