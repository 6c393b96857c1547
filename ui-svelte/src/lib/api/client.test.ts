import { afterEach, describe, expect, it, vi } from 'vitest';
import { answers, ApiError, onUnauthorized, percentEncode, raw, request, url } from './client';

const fetched = vi.fn<typeof fetch>();

function answer(status: number, body: unknown, headers: Record<string, string> = {}): void {
	vi.stubGlobal('fetch', fetched);
	const text = typeof body === 'string' ? body : JSON.stringify(body);
	fetched.mockResolvedValueOnce(new Response(text, { status, headers }));
}

/** Never answers; ends when it is cancelled, as a browser's does. */
function silence(): void {
	vi.stubGlobal('fetch', fetched);
	fetched.mockImplementationOnce(
		(_, init) =>
			new Promise((_, reject) => {
				const signal = init?.signal;
				signal?.addEventListener('abort', () => reject(signal.reason));
			})
	);
}

async function failure(asked: Promise<unknown>): Promise<ApiError> {
	const error: unknown = await asked.then(
		() => null,
		(reason: unknown) => reason
	);
	expect(error).toBeInstanceOf(ApiError);
	return error as ApiError;
}

afterEach(() => {
	vi.unstubAllGlobals();
	vi.useRealTimers();
	fetched.mockReset();
});

describe('addresses', () => {
	it('have bytes as they are, and nothing for what is absent', () => {
		const key = new Uint8Array([0x61, 0x2f, 0x00, 0xff, 0x2b, 0x20]);
		expect(percentEncode(key)).toBe('a%2F%00%FF%2B%20');
		expect(url('/x', { prefix: key, limit: 0, node: undefined, q: null, reverse: false })).toBe(
			'/x?prefix=a%2F%00%FF%2B%20&limit=0&reverse=false'
		);
		expect(url('/x')).toBe('/x');
	});
});

describe('a request', () => {
	it('says who asks, and sends JSON as such', async () => {
		answer(200, { id: 7 });
		expect(await request('POST', '/x', { json: { a: 1 } })).toEqual({ id: 7 });
		const [address, init] = fetched.mock.calls[0] ?? [];
		const headers = new Headers(init?.headers);
		expect(address).toBe('/x');
		expect(init?.body).toBe('{"a":1}');
		expect(headers.get('content-type')).toBe('application/json');
		expect(headers.get('x-axon-actor')).toBe('dashboard');
	});

	it('may have an empty answer', async () => {
		answer(200, '');
		expect(await request('GET', '/x')).toBeUndefined();
	});
});

describe('a failure', () => {
	const noQuorum = {
		type: 'about:blank',
		title: 'No quorum',
		status: 503,
		error: '1 of 3 voters is reachable, 2 are needed',
		code: 'no_quorum',
		retryable: true,
		outcome: 'not_applied',
		details: { alive: 1, needed: 2 }
	};

	it('has all that the problem says', async () => {
		answer(503, noQuorum, { 'x-request-id': 'abc-1', 'retry-after': '2' });
		expect(await failure(raw('PUT', '/x'))).toMatchObject({
			message: '1 of 3 voters is reachable, 2 are needed',
			status: 503,
			code: 'no_quorum',
			retryable: true,
			outcome: 'not_applied',
			details: { alive: 1, needed: 2 },
			requestId: 'abc-1',
			retryAfterMs: 2_000
		});
	});

	it('of a read has no outcome', async () => {
		answer(503, noQuorum);
		expect((await failure(raw('GET', '/x'))).outcome).toBeNull();
	});

	it('that is no problem document still says what it is', async () => {
		answer(502, '<html>Bad gateway</html>');
		expect(await failure(raw('GET', '/x'))).toMatchObject({ status: 502, code: 'http' });
	});

	it('of the connection leaves open what became of a change, and only of a change', async () => {
		for (const [method, outcome] of [
			['PUT', 'unknown'],
			['GET', null]
		] as const) {
			vi.stubGlobal('fetch', fetched);
			fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'));
			expect(await failure(raw(method, '/x'))).toMatchObject({
				status: 0,
				code: 'unreachable',
				retryable: true,
				outcome
			});
		}
	});

	it('is a timeout when no answer comes in time', async () => {
		vi.useFakeTimers();
		silence();
		const failed = failure(raw('DELETE', '/x', { timeoutMs: 1_500 }));
		await vi.advanceTimersByTimeAsync(1_500);
		expect(await failed).toMatchObject({
			code: 'timeout',
			outcome: 'unknown',
			message: 'There was no answer within 1.5 s.'
		});
	});

	it('is none when the caller cancels: that is told as it is', async () => {
		silence();
		const cancel = new AbortController();
		const asked = raw('GET', '/x', { signal: cancel.signal });
		cancel.abort();
		await expect(asked).rejects.toMatchObject({ name: 'AbortError' });
	});

	it('of a body that breaks off is one of the connection', async () => {
		vi.stubGlobal('fetch', fetched);
		const broken = new ReadableStream({ pull: (body) => body.error(new TypeError('network')) });
		fetched.mockResolvedValueOnce(new Response(broken));
		expect((await failure(request('GET', '/x'))).code).toBe('unreachable');
	});

	it('for want of a session is told to whoever asked to know', async () => {
		const told = vi.fn();
		const end = onUnauthorized(told);
		answer(401, { code: 'unauthorized', error: 'show the token' });
		await failure(raw('GET', '/x'));
		end();
		answer(401, { code: 'unauthorized', error: 'show the token' });
		await failure(raw('GET', '/x'));
		expect(told).toHaveBeenCalledTimes(1);
	});
});

describe('the launcher', () => {
	it('answers, if only with an error, or does not', async () => {
		answer(200, {});
		expect(await answers()).toBe(true);
		answer(401, { code: 'unauthorized', error: 'show the token' });
		expect(await answers()).toBe(true);
		fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'));
		expect(await answers()).toBe(false);
	});
});
