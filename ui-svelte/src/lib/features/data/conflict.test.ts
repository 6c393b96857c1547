// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { difference, outcomeOf } from './conflict';
import { utf8 } from './range';

describe('a write without an answer', () => {
	const mine = utf8('mine');
	const found = (value: string, modRevision: number) => ({ value: utf8(value), modRevision });

	it('was done when its value stands there under a new revision', () => {
		expect(outcomeOf(7, mine, found('mine', 8))).toBe('written');
		expect(outcomeOf(null, mine, found('mine', 8))).toBe('written');
	});

	it('was not done so far when nothing has changed', () => {
		expect(outcomeOf(7, mine, found('mine', 7))).toBe('not_written');
		expect(outcomeOf(null, mine, null)).toBe('not_written');
	});

	it('cannot be told from what others wrote since', () => {
		expect(outcomeOf(7, mine, found('theirs', 9))).toBe('changed');
		expect(outcomeOf(7, mine, null)).toBe('changed');
	});
});

describe('the difference of two values', () => {
	it('is of text when both are text, else of bytes', () => {
		expect(difference(utf8('a'), utf8('a'))).toEqual({ kind: 'same' });
		expect(difference(utf8('a'), utf8('b'))).toEqual({ kind: 'text', theirs: 'a', mine: 'b' });
		expect(difference(Uint8Array.of(0xff), utf8('b'))).toEqual({
			kind: 'hex',
			theirs: 'ff',
			mine: '62'
		});
	});

	it('says what it leaves out', () => {
		const large = difference(new Uint8Array(70_000).fill(0xff), Uint8Array.of());
		expect(large.kind === 'hex' && large.theirs.endsWith('… 4464 more bytes')).toBe(true);
	});
});
