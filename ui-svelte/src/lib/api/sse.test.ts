import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { sse, SseParser, type Closable, type Message, type SseHandlers } from './sse';

function parsed(...chunks: string[]): Message[] {
	const messages: Message[] = [];
	const parser = new SseParser((message) => messages.push(message));
	for (const chunk of chunks) parser.push(chunk);
	return messages;
}

describe('the parser', () => {
	it('takes messages apart, wherever the parts are cut', () => {
		const text =
			'retry: 1000\n\nid: 5-1\nevent: tick\ndata: {"t":1}\n\n: ping\n\ndata: a\ndata:b\n\n';
		const whole: Message[] = [
			{ event: 'tick', data: '{"t":1}', id: '5-1' },
			{ event: 'message', data: 'a\nb', id: '5-1' }
		];
		expect(parsed(text)).toEqual(whole);
		expect(parsed(...text)).toEqual(whole);
		expect(parsed(text.replaceAll('\n', '\r\n'))).toEqual(whole);
	});

	it('tells no message without data, and none that broke off', () => {
		expect(parsed('event: x\n\n', 'event: y\ndata: 1\n')).toEqual([]);
	});

	it('knows when to come back', () => {
		const parser = new SseParser(() => undefined, '7-3');
		expect([parser.lastEventId, parser.retryMs]).toEqual(['7-3', 1_000]);
		parser.push('retry: 250\nretry: soon\nid: 7-4\ndata: x\n\n');
		expect([parser.lastEventId, parser.retryMs]).toEqual(['7-4', 250]);
	});
});

/** The launcher's side of a connection. */
interface Connection {
	lastEventId: string | null;
	say: (text: string) => void;
	end: () => void;
	cancelled: () => boolean;
}

describe('a stream', () => {
	const connections: Connection[] = [];
	let refusal: Response | null = null;
	let open: Closable | null = null;

	beforeEach(() => {
		vi.useFakeTimers();
		connections.length = 0;
		refusal = null;
		vi.stubGlobal('fetch', (_: string, init: RequestInit) => {
			if (refusal) return Promise.resolve(refusal);
			const encoder = new TextEncoder();
			let cancelled = false;
			const body = new ReadableStream<Uint8Array>({
				start(controller) {
					init.signal?.addEventListener('abort', () => {
						cancelled = true;
						controller.error(init.signal?.reason);
					});
					connections.push({
						lastEventId: new Headers(init.headers).get('last-event-id'),
						say: (text) => controller.enqueue(encoder.encode(text)),
						end: () => controller.close(),
						cancelled: () => cancelled
					});
				}
			});
			return Promise.resolve(new Response(body));
		});
	});

	afterEach(() => {
		open?.close();
		vi.unstubAllGlobals();
		vi.useRealTimers();
	});

	function follow(onbreak: SseHandlers['onbreak']) {
		const heard: Message[] = [];
		const onopen = vi.fn();
		open = sse(
			'/stream',
			{ query: { a: 1 } },
			{ onmessage: (m) => heard.push(m), onopen, onbreak }
		);
		return { heard, onopen };
	}

	const settle = () => vi.advanceTimersByTimeAsync(0);
	const connection = (number: number) => connections[number] as Connection;

	it('comes back behind the last message it heard', async () => {
		const broke = vi.fn<SseHandlers['onbreak']>(() => 300);
		const { heard, onopen } = follow(broke);
		await settle();
		expect(connection(0).lastEventId).toBeNull();
		connection(0).say('id: 1-8\ndata: x\n\nid: 1-9\ndata: half');
		await settle();
		connection(0).end();
		await settle();
		expect(broke).toHaveBeenLastCalledWith(null, 1, 1_000);
		await vi.advanceTimersByTimeAsync(299);
		expect(connections).toHaveLength(1);
		await vi.advanceTimersByTimeAsync(1);
		expect(connection(1).lastEventId).toBe('1-8');
		connection(1).say('data: y\n\n');
		await settle();
		expect(heard.map((message) => message.data)).toEqual(['x', 'y']);
		expect(onopen).toHaveBeenCalledTimes(2);
	});

	it('counts attempts that fail in a row', async () => {
		const broke = vi.fn<SseHandlers['onbreak']>(() => 100);
		refusal = new Response('{"code":"overloaded","error":"64 streams are open","retryable":true}', {
			status: 503
		});
		follow(broke);
		await vi.advanceTimersByTimeAsync(200);
		expect(broke.mock.calls.map(([error, attempt]) => [error?.code, attempt])).toEqual([
			['overloaded', 1],
			['http', 2],
			['http', 3]
		]);
		refusal = null;
		await vi.advanceTimersByTimeAsync(100);
		connection(0).end();
		await settle();
		expect(broke).toHaveBeenLastCalledWith(null, 1, 1_000);
	});

	it('is given up when it is told so', async () => {
		refusal = new Response('{"code":"compacted","error":"that is gone"}', { status: 410 });
		follow(() => null);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(connections).toHaveLength(0);
	});

	it('breaks off what has been silent for too long, but not what pings', async () => {
		const broke = vi.fn<SseHandlers['onbreak']>(() => 100);
		follow(broke);
		await settle();
		for (let pings = 0; pings < 6; pings++) {
			await vi.advanceTimersByTimeAsync(10_000);
			connection(0).say(': ping\n\n');
		}
		expect(broke).not.toHaveBeenCalled();
		await vi.advanceTimersByTimeAsync(35_000);
		expect(broke).toHaveBeenCalledTimes(1);
		expect(connection(0).cancelled()).toBe(true);
	});

	it('comes back at once when the browser is on the network again', async () => {
		follow(() => 60_000);
		await settle();
		connection(0).end();
		await settle();
		dispatchEvent(new Event('online'));
		await settle();
		expect(connections).toHaveLength(2);
	});

	it('is silent once it is closed', async () => {
		const broke = vi.fn<SseHandlers['onbreak']>(() => 100);
		const { heard } = follow(broke);
		await settle();
		connection(0).say('data: x\n\n');
		open?.close();
		await vi.advanceTimersByTimeAsync(60_000);
		expect([heard.length, broke.mock.calls.length, connections.length]).toEqual([0, 0, 1]);
	});
});
