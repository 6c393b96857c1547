// Follows a node's log: what was kept of it, and whether more is coming.
import { followLogs, type LogQuery } from '$lib/api/logs';
import type { ApiError } from '$lib/api/client';
import { Kept, type Entry } from './kept';

/** Lines that are asked for to begin with. */
export const FIRST_LINES = 2_000;

/** A hidden page gives its connection back after this time. */
const HIDDEN_MS = 30_000;

export class Tail {
	entries = $state.raw<readonly Entry[]>([]);
	/** Whether the answer has begun: without lines before that, nobody knows whether there are any. */
	open = $state(false);
	/** Why it broke off; null while it has not. */
	error = $state.raw<{ reason: ApiError | null; retryAt: number | null } | null>(null);

	/** Follows until the answer is called. */
	follow(id: string, query: Pick<LogQuery, 'level' | 'q'>): () => void {
		const kept = new Kept();
		this.entries = [];
		this.open = false;
		this.error = null;
		/** Where it goes on after a break; empty: from the beginning. */
		let position = '';
		let frame = 0;
		let hidden: ReturnType<typeof setTimeout> | undefined;

		// Batches come ten times a second, the screen is painted when it is painted.
		const paint = () => {
			frame = 0;
			if (kept.flush()) this.entries = kept.entries;
		};
		const soon = () => (frame ||= requestAnimationFrame(paint));

		const connect = () =>
			followLogs(
				id,
				{ ...query, ...(position === '' ? { lines: FIRST_LINES } : { from: position }) },
				{
					onopen: () => {
						if (position === '') kept.clear();
						this.open = true;
						this.error = null;
					},
					onlines: (lines, at) => {
						kept.lines(lines);
						position = at;
						soon();
					},
					ongap: (dropped) => {
						kept.gap(dropped);
						soon();
					},
					onbreak: (reason, retryAt) => (this.error = { reason, retryAt })
				}
			);
		let stream: ReturnType<typeof connect> | null = connect();

		const onvisibility = () => {
			clearTimeout(hidden);
			if (document.hidden) {
				hidden = setTimeout(() => {
					stream?.close();
					stream = null;
				}, HIDDEN_MS);
			} else stream ??= connect();
		};
		document.addEventListener('visibilitychange', onvisibility);
		return () => {
			document.removeEventListener('visibilitychange', onvisibility);
			clearTimeout(hidden);
			cancelAnimationFrame(frame);
			stream?.close();
		};
	}
}
