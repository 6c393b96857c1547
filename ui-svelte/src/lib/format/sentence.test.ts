import { expect, it } from 'vitest';
import { sentence } from './sentence';

it('begins with a capital, but for a name', () => {
	expect(sentence('no further voter may fail')).toBe('No further voter may fail');
	expect(sentence('node1 votes already', ['node1'])).toBe('node1 votes already');
	expect(sentence('node1, node2 should run', ['node1'])).toBe('node1, node2 should run');
	expect(sentence('1 of 3 voters answer')).toBe('1 of 3 voters answer');
	expect(sentence('')).toBe('');
});
