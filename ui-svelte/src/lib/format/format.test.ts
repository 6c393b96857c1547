import { describe, expect, it } from 'vitest';
import { bytes } from './bytes';
import { count, plural, rate } from './count';
import { age, ago, duration } from './duration';
import { clockTime } from './time';

describe('what is not known', () => {
	it.each([null, undefined, NaN, Infinity])('is never 0: %s', (value) => {
		for (const format of [bytes, count, rate, duration, age, ago, clockTime]) {
			expect(format(value)).toBe('unknown');
		}
	});
});

describe('numbers', () => {
	it.each([
		[0, '0 B'],
		[214, '214 B'],
		[999, '999 B'],
		[1200, '1.2 KB'],
		[9_960, '10 KB'],
		[999_499, '999 KB'],
		[999_600, '1.0 MB'],
		[412e6, '412 MB'],
		[3.1e9, '3.1 GB']
	])('%d bytes are %s', (n, text) => expect(bytes(n)).toBe(text));

	it.each([
		[0, '0'],
		[0.44, '0.4'],
		[87, '87'],
		[4812, '4,812'],
		[18_204, '18.2k'],
		[999_960, '1M'],
		[1_340_000, '1.3M']
	])('a rate of %d is %s', (n, text) => expect(rate(n)).toBe(text));

	it('groups and counts', () => {
		expect(count(8_412_907)).toBe('8,412,907');
		expect(plural(1, 'voter')).toBe('1 voter');
		expect(plural(2, 'entry', 'entries')).toBe('2 entries');
	});
});

describe('times', () => {
	it.each([
		[0, '0 ms'],
		[0.44, '0.4 ms'],
		[212.3, '212 ms'],
		[999.6, '1.0 s'],
		[1_900, '1.9 s'],
		[42_000, '42 s'],
		[250_000, '4m 10s'],
		[8_880_000, '2h 28m'],
		[532_800_000, '6d 04h']
	])('%d ms are %s', (ms, text) => expect(duration(ms)).toBe(text));

	it('ages go in whole seconds and never before now', () => {
		expect(age(-400)).toBe('0 s');
		expect(age(4_900)).toBe('4 s');
		expect(age(250_000)).toBe('4m 10s');
		expect(ago(300)).toBe('now');
		expect(ago(4_900)).toBe('4 s ago');
	});

	it('a time of day has seconds', () => {
		expect(clockTime(new Date(2026, 0, 2, 14, 32, 7).getTime())).toBe('14:32:07');
		expect(clockTime(new Date(2026, 0, 2, 0, 5, 9).getTime())).toBe('00:05:09');
	});
});
