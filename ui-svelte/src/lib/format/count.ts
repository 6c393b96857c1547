import { known, UNKNOWN, type MaybeNumber } from './unknown';

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** 8412907 as `8,412,907`. */
export function count(n: MaybeNumber): string {
	return known(n) ? grouped.format(n) : UNKNOWN;
}

/** A rate, short enough for a legend: `0.4`, `87`, `4,812`, `18.2k`, `1.3M`. */
export function rate(n: MaybeNumber): string {
	if (!known(n)) return UNKNOWN;
	const size = Math.abs(n);
	if (size >= 999_950) return `${oneDigit.format(n / 1e6)}M`;
	if (size >= 10_000) return `${oneDigit.format(n / 1e3)}k`;
	return size < 10 ? oneDigit.format(n) : grouped.format(n);
}

/** `1 voter`, `2 voters`. */
export function plural(n: number, one: string, many = `${one}s`): string {
	return `${count(n)} ${n === 1 ? one : many}`;
}
