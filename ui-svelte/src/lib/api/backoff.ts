// When to come back to a stream that broke off.

import type { ApiError } from './client';

const LONGEST_MS = 5_000;

/** The wait before attempt number `attempt`; null: the answer will not change by asking again. */
export function backOff(error: ApiError | null, attempt: number, firstMs: number): number | null {
	// No answer, an overloaded launcher and a missing session pass; any other refusal stays.
	if (error && error.status !== 0 && error.status !== 401 && !error.retryable) return null;
	if (error?.retryAfterMs) return error.retryAfterMs;
	return Math.min(LONGEST_MS, firstMs * 2 ** (attempt - 1));
}
