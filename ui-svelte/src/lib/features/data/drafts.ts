/** Values that are being edited, by key: what was typed waits while one looks at another key or page. */
import { SvelteMap } from 'svelte/reactivity';
import type { Draft } from './draft.svelte';

export const drafts = new SvelteMap<string, Draft>();
