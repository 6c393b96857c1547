// One tab reads the stream, for all tabs of this browser: a lock elects it, a channel carries what it
// hears. A browser opens only about six connections to a host, and every tab wants some for itself.
// Where there are no locks (they want https or this machine) or no channel, each tab reads for itself.

export interface ShareHandlers<Said, Welcome> {
	/** This tab is the one that reads, from now on. The answer ends it. */
	lead: () => () => void;
	/** What the tab that reads says. */
	hear: (said: Said) => void;
	/** What a tab needs that has just come; null: not known yet. Asked of the tab that reads. */
	welcome: () => Welcome | null;
	/** This tab asked what it needs, and here it is. */
	welcomed: (welcome: Welcome) => void;
}

export interface Share<Said> {
	/** Tells the other tabs, if this is the one that reads. */
	tell: (said: Said) => void;
	/** Asks for what a tab needs that has just come, or lost the thread. */
	ask: () => void;
	leave: () => void;
}

type Letter<Said, Welcome> =
	| { kind: 'said'; said: Said }
	| { kind: 'ask'; from: number }
	| { kind: 'welcome'; to: number; welcome: Welcome };

/** Least time between two questions of a tab. */
const ASK_EVERY_MS = 500;

export function share<Said, Welcome>(
	name: string,
	handlers: ShareHandlers<Said, Welcome>
): Share<Said> {
	const locks = (navigator as Partial<Navigator>).locks;
	if (!locks || typeof BroadcastChannel === 'undefined') {
		const end = handlers.lead();
		return { tell: () => undefined, ask: () => undefined, leave: end };
	}

	const me = Math.random();
	const channel = new BroadcastChannel(name);
	const post = (letter: Letter<Said, Welcome>) => channel.postMessage(letter);
	const left = new AbortController();
	let end: (() => void) | null = null;
	let asked = Number.NEGATIVE_INFINITY;

	const ask = () => {
		const now = performance.now();
		if (end || now - asked < ASK_EVERY_MS) return;
		asked = now;
		post({ kind: 'ask', from: me });
	};

	channel.onmessage = ({ data }: MessageEvent<Letter<Said, Welcome>>) => {
		if (data.kind === 'said' && !end) handlers.hear(data.said);
		if (data.kind === 'welcome' && data.to === me && !end) handlers.welcomed(data.welcome);
		if (data.kind === 'ask' && end) {
			const welcome = handlers.welcome();
			if (welcome !== null) post({ kind: 'welcome', to: data.from, welcome });
		}
	};

	const reign = () =>
		new Promise<void>((resolve) => {
			if (left.signal.aborted) return resolve();
			end = handlers.lead();
			left.signal.addEventListener('abort', () => resolve());
		});
	// Refused only because this tab left while it waited for its turn.
	locks.request(name, { signal: left.signal }, reign).catch(() => undefined);
	ask();

	return {
		tell: (said) => {
			if (end) post({ kind: 'said', said });
		},
		ask,
		leave: () => {
			end?.();
			end = null;
			left.abort();
			channel.close();
		}
	};
}
