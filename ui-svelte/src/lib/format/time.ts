import { known, UNKNOWN, type MaybeNumber } from './unknown';

const clock = new Intl.DateTimeFormat('en-GB', {
	hour: '2-digit',
	minute: '2-digit',
	second: '2-digit',
	hourCycle: 'h23'
});
const day = new Intl.DateTimeFormat('en-CA', { year: 'numeric', month: '2-digit', day: '2-digit' });

/** The time of day where the reader is: `14:32:07`. */
export function clockTime(ms: MaybeNumber): string {
	return known(ms) ? clock.format(ms) : UNKNOWN;
}

/** The day and the time of day: `2026-03-01 14:32:07`. */
export function dateTime(ms: MaybeNumber): string {
	return known(ms) ? `${day.format(ms)} ${clock.format(ms)}` : UNKNOWN;
}
