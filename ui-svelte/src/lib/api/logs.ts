// A node's log: its last lines, and those that follow.

import { raw, type ApiError } from './client';
import { backOff } from './backoff';
import { sse, type Closable } from './sse';
import type { LogLevel, LogLine } from './types';

export type { LogLevel };

export interface LogQuery {
	/** At least this bad. */
	level?: LogLevel | undefined;
	/** In its text, whatever the case. */
	q?: string | undefined;
	/** How many to begin with. */
	lines?: number | undefined;
	/** Where to go on, instead of the last lines. */
	from?: string | undefined;
}

export interface LogHandlers {
	/** `position` is where it goes on; empty while the first lines are still coming. */
	onlines: (lines: LogLine[], position: string) => void;
	/** Lines were left out: how many, or null when nobody knows. */
	ongap: (dropped: number | null) => void;
	onopen?: () => void;
	/** It broke off and comes back at `retryAt`; null: it does not. */
	onbreak?: (error: ApiError | null, retryAt: number | null) => void;
}

const logPath = (id: string) => `/api/v1/nodes/${encodeURIComponent(id)}/logs`;

/** The most lines that are given at once. */
const LINES_MAX = 10_000;

/** The last lines as text, to keep. */
export async function logFile(id: string, query: LogQuery = {}): Promise<Blob> {
	const response = await raw('GET', logPath(id), { query: { lines: LINES_MAX, ...query } });
	return response.blob();
}

export function followLogs(id: string, query: LogQuery, handlers: LogHandlers): Closable {
	return sse(
		logPath(id),
		{ query: { follow: true, ...query } },
		{
			onopen: () => handlers.onopen?.(),
			onmessage({ event, data, id }) {
				if (event === 'lines') {
					handlers.onlines((JSON.parse(data) as { lines: LogLine[] }).lines, id);
				}
				if (event === 'gap')
					handlers.ongap((JSON.parse(data) as { dropped: number | null }).dropped);
			},
			onbreak(error, attempt, retryMs) {
				const wait = backOff(error, attempt, retryMs);
				handlers.onbreak?.(error, wait === null ? null : Date.now() + wait);
				return wait;
			}
		}
	);
}
