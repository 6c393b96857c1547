// Which keys do what. A page registers its own while it is shown; the one registered last wins.
//
// Single characters never act while something is typed, behind a dialog, or once they are switched
// off (WCAG 2.1.4). Keys with Ctrl or Cmd act everywhere.

import { untrack } from 'svelte';
import { prefs } from './prefs.svelte';

export type Shortcut = {
	/** `t`, `Shift+x`, `Mod+k`, `Delete`, or two keys one after the other: `g o`. */
	keys: string;
	label: string;
	run: (event: KeyboardEvent) => void;
	/** Under which heading the help lists it. */
	scope: string;
};

/** The heading of what every page has. */
export const EVERYWHERE = 'Everywhere';

/** How long the second key of a pair may take. */
const PAIR_MS = 1500;

const TICKED = '[type="checkbox"], [type="radio"]';
const TYPING = `input:not(${TICKED}), textarea, select, [contenteditable]:not([contenteditable="false"])`;
const PRESSABLE = `a, button, summary, ${TICKED}, [role="menuitem"], [role="option"], [role="tab"]`;
const MOVING =
	'[type="radio"], [role="menu"], [role="listbox"], [role="tablist"], [role="radiogroup"]';
/** A dialog keeps the focus for a moment after it was closed. */
const CLOSED = 'dialog:not([open])';

/** A key as it is written in `keys`. */
export function keyName(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'shiftKey'>) {
	const letter = event.key.length === 1;
	const key = letter ? event.key.toLowerCase() : event.key;
	if (event.ctrlKey || event.metaKey) return `Mod+${key}`;
	// `?` needs Shift on many keyboards; only letters are told apart by it.
	return event.shiftKey && (!letter || /[a-z]/.test(key)) ? `Shift+${key}` : key;
}

/** Whether an element keeps this key for itself. */
export function keeps(target: EventTarget | null, key: string): boolean {
	if (key.startsWith('Mod+') || !(target instanceof Element)) return false;
	if (target.closest(CLOSED)) return false;
	if (target.closest(TYPING)) return true;
	if (key === 'Enter' || key === ' ') return target.closest(PRESSABLE) !== null;
	return key.startsWith('Arrow') && target.closest(MOVING) !== null;
}

const isCharacter = (key: string) => key.replace('Shift+', '').length === 1;

export class Shortcuts {
	#all = $state.raw<readonly Shortcut[]>([]);
	#first: { key: string; at: number } | null = null;

	/** What can be pressed now: of two with the same keys the later one. */
	readonly active = $derived(
		this.#all.filter((one, at) => !this.#all.slice(at + 1).some((two) => two.keys === one.keys))
	);

	add(shortcut: Shortcut): () => void {
		// The layout registers after the page that it shows: what is meant everywhere comes first, so
		// that a page may give a key another meaning.
		const first = shortcut.scope === EVERYWHERE;
		this.#all = first ? [shortcut, ...this.#all] : [...this.#all, shortcut];
		return () => {
			this.#all = this.#all.filter((one) => one !== shortcut);
		};
	}

	press(event: KeyboardEvent): void {
		if (event.defaultPrevented || event.isComposing || event.altKey) return;
		const key = keyName(event);
		const first = this.#first;
		this.#first = null;
		if (keeps(event.target, key)) return;
		if (!key.startsWith('Mod+')) {
			if (isCharacter(key) && !prefs.shortcuts) return;
			if (document.querySelector('dialog[open]')) return;
		}
		const pair = first && event.timeStamp - first.at < PAIR_MS ? `${first.key} ${key}` : null;
		const found = this.#find(pair) ?? this.#find(key);
		if (found) {
			event.preventDefault();
			found.run(event);
		} else if (this.active.some(({ keys }) => keys.startsWith(`${key} `))) {
			this.#first = { key, at: event.timeStamp };
		}
	}

	#find(keys: string | null): Shortcut | undefined {
		return this.active.find((one) => one.keys === keys);
	}
}

export const shortcuts = new Shortcuts();

/** Registers a shortcut for as long as the component that calls this is shown. */
export function shortcut(
	keys: string,
	label: string,
	run: Shortcut['run'],
	{ scope = 'This page' }: { scope?: string } = {}
): void {
	$effect(() => untrack(() => shortcuts.add({ keys, label, run, scope })));
}
