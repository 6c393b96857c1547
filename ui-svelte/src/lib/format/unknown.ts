/** What stands where a number is not known: never 0. */
export const UNKNOWN = 'unknown';

/** A number that may not be known; NaN marks a gap in a series. */
export type MaybeNumber = number | null | undefined;

export function known(n: MaybeNumber): n is number {
	return n !== null && n !== undefined && Number.isFinite(n);
}
