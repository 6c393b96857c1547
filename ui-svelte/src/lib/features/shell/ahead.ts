// What the other pages and the dialogs are made of, fetched while there is nothing better to do: they
// open at once then, and still do when the launcher has gone or a session is over.

import { preloadCode } from '$app/navigation';
import { PAGES } from './pages';

/** Time for the first picture, its stream and its charts. */
const AFTER_MS = 2_000;

/** The parts that every page can open, by what opens them. */
export const PARTS = {
	dialogs: () => import('$lib/features/nodes/OpenDialog.svelte'),
	help: () => import('$lib/features/shortcuts/Help.svelte'),
	palette: () => import('$lib/features/palette/Palette.svelte')
};

const NODE = ['', '/logs', '/metrics', '/events', '/raft'].map((tab) => `/nodes/any${tab}`);
const OTHERS = ['/data/watch', '/operations', '/operations/1'];

/** Begins soon; what it returns calls it off until then. */
export function fetchAhead(): () => void {
	const timer = setTimeout(() => void fetchAll(), AFTER_MS);
	return () => clearTimeout(timer);
}

// One after the other: a browser has few connections to a launcher, and what is asked for by hand
// comes first.
async function fetchAll(): Promise<void> {
	const routes = [...PAGES.map(({ href }) => href), ...NODE, ...OTHERS];
	const all = [...Object.values(PARTS), ...routes.map((route) => () => preloadCode(route))];
	for (const part of all) {
		try {
			await part();
		} catch {
			// It is fetched when it is needed, and then said if it cannot be.
			return;
		}
	}
}
