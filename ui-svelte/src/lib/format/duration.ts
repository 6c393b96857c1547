import { known, UNKNOWN, type MaybeNumber } from './unknown';

const two = (n: number) => String(n).padStart(2, '0');

/** A span of time in at most two units: `0.4 ms`, `212 ms`, `1.9 s`, `42 s`, `4m 10s`, `2h 28m`, `6d 04h`. */
export function duration(ms: MaybeNumber): string {
	if (!known(ms)) return UNKNOWN;
	if (ms < 9.95) return `${ms <= 0 ? 0 : ms.toFixed(1)} ms`;
	if (ms < 999.5) return `${Math.round(ms)} ms`;
	if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
	const seconds = Math.floor(ms / 1000);
	if (seconds < 60) return `${seconds} s`;
	const minutes = Math.floor(seconds / 60);
	if (minutes < 60) return `${minutes}m ${two(seconds % 60)}s`;
	const hours = Math.floor(minutes / 60);
	if (hours < 24) return `${hours}h ${two(minutes % 60)}m`;
	return `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}

/** The same in whole seconds, for what ticks once a second: `0 s`, `4 s`, `4m 10s`. */
export function age(ms: MaybeNumber): string {
	if (!known(ms)) return UNKNOWN;
	return ms < 60_000 ? `${Math.max(0, Math.floor(ms / 1000))} s` : duration(ms);
}

/** How long ago something was: `now`, `4 s ago`, `2h 28m ago`. */
export function ago(ms: MaybeNumber): string {
	if (!known(ms)) return UNKNOWN;
	return ms < 1000 ? 'now' : `${age(ms)} ago`;
}
