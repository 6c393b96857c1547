// What a node says itself, asked for again and again while somebody looks at it.

import { ApiError } from '$lib/api/client';
import { nodeMembers, nodeStatus } from '$lib/api/nodes';
import type { Members, Status } from '$lib/api/types';
import { clock } from '$lib/live/clock.svelte';

/** Time between two questions. */
const ASK_EVERY_MS = 1_000;

export class OwnView {
	status = $state.raw<Status | null>(null);
	members = $state.raw<Members | null>(null);
	/** When it last answered, by the launcher's clock. */
	at = $state<number | null>(null);
	/** Why it did not answer the last time. */
	error = $state<string | null>(null);

	/** Asks the node of that name until the answer is called. */
	follow(name: string): () => void {
		const asking = new AbortController();
		let timer: ReturnType<typeof setTimeout> | undefined;
		const ask = async () => {
			// A hidden tab costs nobody anything.
			if (!document.hidden) await this.#ask(name, asking.signal);
			if (!asking.signal.aborted) timer = setTimeout(() => void ask(), ASK_EVERY_MS);
		};
		void ask();
		return () => {
			asking.abort();
			clearTimeout(timer);
		};
	}

	async #ask(name: string, signal: AbortSignal): Promise<void> {
		try {
			const [status, members] = await Promise.all([
				nodeStatus(name, signal),
				nodeMembers(name, signal)
			]);
			this.status = status;
			this.members = members;
			this.at = clock.now;
			this.error = null;
		} catch (reason) {
			if (signal.aborted) return;
			this.error = reason instanceof ApiError ? reason.message : String(reason);
		}
	}
}
