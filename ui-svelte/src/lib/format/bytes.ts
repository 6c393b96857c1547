import { known, UNKNOWN, type MaybeNumber } from './unknown';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'] as const;

/** A size in steps of 1,000: `214 B`, `1.2 KB`, `412 MB`, `3.1 GB`. */
export function bytes(n: MaybeNumber): string {
	if (!known(n)) return UNKNOWN;
	let value = n;
	let unit = 0;
	// 999.95 would be rounded up to "1000.0" of the smaller unit.
	while (Math.abs(value) >= (unit === 0 ? 1000 : 999.5) && unit < UNITS.length - 1) {
		value /= 1000;
		unit += 1;
	}
	const digits = unit > 0 && Math.abs(value) < 9.95 ? 1 : 0;
	return `${value.toFixed(digits)} ${UNITS[unit]}`;
}
