// The cluster's stream, as one tab reads it: open, quiet, broken off and coming back.

import { backOff } from '../api/backoff';
import { sse, type Closable, type Message } from '../api/sse';

/** How the connection is, for every tab that shares it. */
export interface StreamStatus {
	phase: 'connecting' | 'open' | 'waiting';
	/** Attempts in a row that failed. */
	attempt: number;
	/** When the next attempt is, by the browser's clock. */
	retryAt: number | null;
	signInNeeded: boolean;
}

export const CONNECTING: StreamStatus = {
	phase: 'connecting',
	attempt: 0,
	retryAt: null,
	signInNeeded: false
};

export interface StreamHandlers {
	onmessage: (message: Message) => void;
	onstatus: (status: StreamStatus) => void;
}

/** Reads the stream on behind the message `lastEventId`; from a snapshot on when that is empty. */
export function openStream(lastEventId: string, handlers: StreamHandlers): Closable {
	let farewell: number | null = null;
	handlers.onstatus(CONNECTING);
	return sse(
		'/api/v1/stream',
		{ lastEventId },
		{
			onopen: () => handlers.onstatus({ ...CONNECTING, phase: 'open' }),
			onmessage(message) {
				if (message.event === 'bye') {
					farewell = (JSON.parse(message.data) as { retry_ms: number }).retry_ms;
				}
				handlers.onmessage(message);
			},
			onbreak(error, attempt, retryMs) {
				// The stream is what everything else hangs on: it is never given up.
				const wait = farewell ?? backOff(error, attempt, retryMs) ?? retryMs;
				farewell = null;
				handlers.onstatus({
					phase: 'waiting',
					attempt,
					retryAt: Date.now() + wait,
					signInNeeded: error?.status === 401
				});
				return wait;
			}
		}
	);
}
