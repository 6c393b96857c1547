import type { Closable } from '$lib/api/kv';

/** A hidden tab goes without its streams after this long: a browser has few connections for all tabs. */
const HIDDEN_MS = 30_000;

/** Keeps what `start` opens for as long as somebody may be looking; it is opened anew when they are back. */
export function whileSeen(start: () => Closable): Closable {
	let running: Closable | null = start();
	let hiding: ReturnType<typeof setTimeout> | undefined;
	const onvisibility = () => {
		clearTimeout(hiding);
		if (!document.hidden) {
			running ??= start();
			return;
		}
		hiding = setTimeout(() => {
			running?.close();
			running = null;
		}, HIDDEN_MS);
	};
	document.addEventListener('visibilitychange', onvisibility);
	return {
		close() {
			document.removeEventListener('visibilitychange', onvisibility);
			clearTimeout(hiding);
			running?.close();
			running = null;
		}
	};
}
