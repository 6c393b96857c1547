// What people can do to nodes: the items of a node's menu, and which dialog is open. The dialogs
// themselves are in ActionDialogs.svelte, mounted once by the layout.

import { SvelteMap, SvelteSet } from 'svelte/reactivity';
import { act, dryRun, type Action } from '$lib/api/nodes';
import { ApiError } from '$lib/api/client';
import type { DryRun, Node, Operation } from '$lib/api/types';
import { sentence } from '$lib/format/sentence';
import { live } from '$lib/live/cluster.svelte';
import { toasts } from '$lib/ui/toasts.svelte';
import { ACTION_LABEL, ACTIONS, GUARDED, needsDialog, plainReason } from './availability';
import ArrowUpFromLine from '@lucide/svelte/icons/arrow-up-from-line';
import Crown from '@lucide/svelte/icons/crown';
import Play from '@lucide/svelte/icons/play';
import RotateCw from '@lucide/svelte/icons/rotate-cw';
import Square from '@lucide/svelte/icons/square';
import Trash from '@lucide/svelte/icons/trash-2';
import Zap from '@lucide/svelte/icons/zap';
import { operationTitle } from '$lib/features/operations/words';
import type { MenuItem } from '$lib/ui/types';

export type { Action };

/** The dialog that is open, if any. */
type Open =
	| { kind: 'action'; action: Action; name: string }
	| { kind: 'add' }
	| { kind: 'rolling_restart' }
	| { kind: 'restart_each'; names: string[] };

class Dialogs {
	open = $state.raw<Open | null>(null);
	/** Operations that were begun from this page and whose end is told by a toast. */
	readonly begun = new SvelteSet<number>();
	/** What the launcher said when it was last asked, by node and action: why it would refuse. */
	readonly refusals = new SvelteMap<string, Partial<Record<Action, string>>>();
}

export const dialogs = new Dialogs();

export const ICON = {
	start: Play,
	stop: Square,
	restart: RotateCw,
	kill: Zap,
	promote: ArrowUpFromLine,
	transfer: Crown,
	decommission: Trash
};

/** Opens the dialog for adding a node. */
export function openAddNode(): void {
	dialogs.open = { kind: 'add' };
}

/** Opens the dialog for restarting all nodes, one at a time. */
export function openRollingRestart(): void {
	dialogs.open = { kind: 'rolling_restart' };
}

/** Opens the dialog for restarting some nodes, one at a time. */
export function openRestartEach(names: string[]): void {
	dialogs.open = { kind: 'restart_each', names };
}

/**
 * Does an action at once where that costs nothing, else shows its effect and asks.
 */
export async function openAction(action: Action, name: string): Promise<void> {
	const ask = () => {
		dialogs.open = { kind: 'action', action, name };
	};
	if (action !== 'restart' && action !== 'start') return ask();
	try {
		if (needsDialog(action, await dryRun(name, action))) return ask();
		announce(await act(name, action));
	} catch (error) {
		failed(`${ACTION_LABEL[action]} ${name}`, error);
	}
}

/** The items of a node's menu. What cannot be done stays, with its reason. */
export function nodeActions(node: Node): MenuItem[] {
	return ACTIONS.map((action) => ({
		label: ACTION_LABEL[action],
		icon: ICON[action],
		danger: action === 'decommission' || action === 'kill',
		separator: action === 'decommission',
		disabledReason: disabledReason(action, node),
		onselect: () => void openAction(action, node.id)
	}));
}

/** Why an action on a node cannot be done now, as far as is known. */
export function disabledReason(action: Action, node: Node): string | null {
	if (live.connection === 'offline') return 'The launcher does not answer';
	const plain = plainReason(action, node, live.operations);
	return plain ?? dialogs.refusals.get(node.id)?.[action] ?? null;
}

/** Asks the launcher what it would refuse on a node; called when its menu opens. */
export async function askRefusals(name: string): Promise<void> {
	dialogs.refusals.delete(name);
	const answers = await Promise.allSettled(GUARDED.map((action) => dryRun(name, action)));
	const refusals: Partial<Record<Action, string>> = {};
	answers.forEach((answer, at) => {
		const action = GUARDED[at];
		if (action && answer.status === 'fulfilled' && !answer.value.allowed) {
			refusals[action] = refusalOf(answer.value);
		}
	});
	dialogs.refusals.set(name, refusals);
}

/** Why the launcher refuses, in a sentence. */
export function refusalOf(dry: DryRun): string {
	const names = live.nodes.map((node) => node.id);
	return dry.reason ? sentence(dry.reason, names) : 'The launcher refuses it';
}

/** Says that an operation has begun, with a way to it; how it ends is told when it does. */
export function announce(operation: Operation): void {
	dialogs.begun.add(operation.id);
	toasts.add({
		tone: 'info',
		title: operationTitle(operation),
		text: sentence(operation.steps.map((step) => step.name).join(', ')),
		href: `/operations/${operation.id}`
	});
}

/** Says what went wrong; it stays until it is closed. */
export function failed(what: string, error: unknown): void {
	const said = error instanceof ApiError ? error.message : String(error);
	const text = sentence(
		said,
		live.nodes.map((node) => node.id)
	);
	toasts.add({ tone: 'crit', title: `${what}: not done`, text, timeoutMs: null });
}
