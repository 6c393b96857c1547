// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { ApiError } from '$lib/api/client';
import { isConflict, isUnknown, told } from './problem';

const error = (code: string, message: string, details: Record<string, unknown> = {}) =>
	new ApiError({ status: 503, code, message, details, outcome: 'unknown' });

describe('a failure in words', () => {
	it('names its reason in the title, and says the sentence of the server', () => {
		const lost = error('no_quorum', '1 of 3 voters is reachable, 2 are needed');
		expect(told(lost, 'Not saved')).toEqual({
			title: 'Not saved: no quorum',
			text: '1 of 3 voters is reachable, 2 are needed.'
		});
		expect(told(error('internal', 'Broken!'), 'Not saved')).toEqual({
			title: 'Not saved',
			text: 'Broken!'
		});
	});

	it('says the limit of what is too large', () => {
		const large = error('too_large', 'x', { what: 'value', limit: 1_048_576, got: 2_000_000 });
		expect(told(large, 'Not saved').text).toBe(
			'The value has 2,000,000 bytes, over the limit of 1,048,576 bytes (1.0 MB).'
		);
		const body = error('too_large', 'x', { what: 'body', limit: 1_048_576 });
		expect(told(body, 'Not saved').text).toContain('The body is over the limit of 1,048,576 bytes');
	});

	it('tells what is unknown and what is a conflict', () => {
		expect(isUnknown(error('timeout', 'x')) && !isUnknown(new Error('x'))).toBe(true);
		expect(isConflict(error('precondition_failed', 'x'))).toBe(true);
	});
});
