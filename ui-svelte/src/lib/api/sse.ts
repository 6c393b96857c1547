// Server-sent events over fetch. The browser's EventSource shows neither the status of a refusal nor
// comments, and gives up for good on the first answer that is not 200: the page could not tell
// "sign in again" from "the history is compacted", nor a quiet stream from a dead one.

import { ApiError, problemOf, url, type Query } from './client';

export interface Message {
	event: string;
	data: string;
	/** The last id that was given, of this message or of one before it. */
	id: string;
}

export interface SseHandlers {
	onopen?: () => void;
	onmessage: (message: Message) => void;
	/** It broke off, or was refused. The answer is when to try again, in milliseconds; null: never. */
	onbreak: (error: ApiError | null, attempt: number, retryMs: number) => number | null;
}

export interface SseOptions {
	query?: Query;
	lastEventId?: string;
}

export interface Closable {
	close(): void;
}

const RETRY_MS = 1_000;

/** Every stream says something, if only a comment, at least every 15 s. */
const SILENCE_MS = 35_000;

/** Takes a stream of server-sent events apart. */
export class SseParser {
	/** Of the last message that arrived whole: where to go on. */
	lastEventId: string;
	retryMs = RETRY_MS;
	private id: string;
	private rest = '';
	private event = '';
	private data: string[] = [];

	constructor(
		private readonly emit: (message: Message) => void,
		lastEventId = ''
	) {
		this.lastEventId = this.id = lastEventId;
	}

	push(chunk: string): void {
		const text = this.rest + chunk;
		let start = 0;
		for (;;) {
			const end = text.indexOf('\n', start);
			if (end === -1) break;
			const line = text.slice(start, text[end - 1] === '\r' && end > start ? end - 1 : end);
			start = end + 1;
			this.line(line);
		}
		this.rest = text.slice(start);
	}

	/** What came of a message that broke off is forgotten. */
	reset(): void {
		this.rest = '';
		this.event = '';
		this.data = [];
		this.id = this.lastEventId;
	}

	private line(line: string): void {
		if (line === '') {
			this.lastEventId = this.id;
			if (this.data.length > 0) {
				const event = this.event === '' ? 'message' : this.event;
				this.emit({ event, data: this.data.join('\n'), id: this.lastEventId });
			}
			this.event = '';
			this.data = [];
			return;
		}
		const colon = line.indexOf(':');
		const field = colon === -1 ? line : line.slice(0, colon);
		const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
		if (field === 'event') this.event = value;
		else if (field === 'data') this.data.push(value);
		else if (field === 'id' && !value.includes('\0')) this.id = value;
		else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
	}
}

/** Follows a stream until it is closed, and comes back with `Last-Event-ID` when it breaks off. */
export function sse(path: string, options: SseOptions, handlers: SseHandlers): Closable {
	const closed = new AbortController();
	void follow(path, options, handlers, closed.signal);
	return { close: () => closed.abort() };
}

async function follow(
	path: string,
	options: SseOptions,
	handlers: SseHandlers,
	signal: AbortSignal
): Promise<void> {
	let attempt = 0;
	const parser = new SseParser((message) => {
		// Told to those who listen only while they do.
		if (!signal.aborted) handlers.onmessage(message);
	}, options.lastEventId);
	while (!signal.aborted) {
		const error = await connect(path, options, parser, signal, () => {
			attempt = 0;
			handlers.onopen?.();
		});
		if (signal.aborted) return;
		attempt += 1;
		const wait = handlers.onbreak(error, attempt, parser.retryMs);
		if (wait === null) return;
		await pause(wait, signal);
	}
}

async function connect(
	path: string,
	options: SseOptions,
	parser: SseParser,
	closed: AbortSignal,
	onopen: () => void
): Promise<ApiError | null> {
	const headers = new Headers({ accept: 'text/event-stream' });
	if (parser.lastEventId !== '') headers.set('last-event-id', parser.lastEventId);
	parser.reset();
	const dead = new AbortController();
	const watchdog = { timer: setTimeout(() => dead.abort(), SILENCE_MS) };
	const alive = () => {
		clearTimeout(watchdog.timer);
		watchdog.timer = setTimeout(() => dead.abort(), SILENCE_MS);
	};
	try {
		const signal = AbortSignal.any([closed, dead.signal]);
		const response = await fetch(url(path, options.query), { headers, signal, cache: 'no-store' });
		if (!response.ok || response.body === null) return await problemOf(response, false);
		onopen();
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		for (;;) {
			const { done, value } = await reader.read();
			if (done || closed.aborted) return null;
			alive();
			parser.push(value);
		}
	} catch (cause) {
		return new ApiError({
			status: 0,
			code: 'unreachable',
			message: 'The connection to the launcher broke.',
			retryable: true,
			cause
		});
	} finally {
		clearTimeout(watchdog.timer);
	}
}

/** Waits; shorter when the stream is closed, or the browser is on the network again. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const done = () => {
			clearTimeout(timer);
			signal.removeEventListener('abort', done);
			removeEventListener('online', done);
			resolve();
		};
		const timer = setTimeout(done, ms);
		signal.addEventListener('abort', done);
		addEventListener('online', done);
	});
}
