// The keyboard in the nodes' table. The focus is on a row's link, so Enter opens it by itself.

import { shortcut } from '$lib/state/shortcuts.svelte';
import type { SvelteSet } from 'svelte/reactivity';

const SCOPE = { scope: 'Nodes' };

/** Moves among rows with j, k and the arrows, selects with x and Shift+x; called by the page. */
export function rowKeys(selected: SvelteSet<string>): void {
	let from: number | null = null;

	const rows = () => [...document.querySelectorAll<HTMLElement>('tbody[data-node]')];
	const here = (all: HTMLElement[]) => all.findIndex((row) => row.contains(document.activeElement));
	const name = (row: HTMLElement | undefined) => row?.dataset.node;

	function move(by: 1 | -1) {
		const all = rows();
		const at = here(all);
		const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), all.length - 1);
		all[to]?.querySelector<HTMLElement>('[data-row]')?.focus();
	}

	function select() {
		const all = rows();
		const at = here(all);
		const id = name(all[at]);
		if (id === undefined) return;
		if (selected.has(id)) selected.delete(id);
		else selected.add(id);
		from = at;
	}

	function selectRange() {
		const all = rows();
		const at = here(all);
		if (at < 0) return;
		const [first, last] = [Math.min(from ?? at, at), Math.max(from ?? at, at)];
		for (const row of all.slice(first, last + 1)) {
			const id = name(row);
			if (id !== undefined) selected.add(id);
		}
		from = at;
	}

	shortcut('j', 'Next node', () => move(1), SCOPE);
	shortcut('k', 'Previous node', () => move(-1), SCOPE);
	shortcut('ArrowDown', 'Next node', () => move(1), SCOPE);
	shortcut('ArrowUp', 'Previous node', () => move(-1), SCOPE);
	shortcut('x', 'Select the node', select, SCOPE);
	shortcut('Shift+x', 'Select up to the node', selectRange, SCOPE);
}
