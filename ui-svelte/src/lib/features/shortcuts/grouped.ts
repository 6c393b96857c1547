import { EVERYWHERE, type Shortcut } from '$lib/state/shortcuts.svelte';

export type Group = { scope: string; list: { label: string; keys: string[] }[] };

/** Shortcuts under their headings, the page's own first; keys that do the same in one line. */
export function grouped(shortcuts: readonly Shortcut[]): Group[] {
	const groups: Group[] = [];
	for (const { scope, label, keys } of shortcuts) {
		let group = groups.find((one) => one.scope === scope);
		if (!group) groups.push((group = { scope, list: [] }));
		const line = group.list.find((one) => one.label === label);
		if (line) line.keys.push(keys);
		else group.list.push({ label, keys: [keys] });
	}
	return groups.sort((a, b) => Number(a.scope === EVERYWHERE) - Number(b.scope === EVERYWHERE));
}
