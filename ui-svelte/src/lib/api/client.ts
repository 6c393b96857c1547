// The only place that calls fetch. Every failure, of whichever layer, becomes an ApiError that says
// what the reader can do: whether asking again may help, and whether something was done.

import type { Problem } from './types';

export type Outcome = 'not_applied' | 'unknown' | null;
export type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';

/** Absent values are left out; bytes are percent-encoded as they are. */
export type Query = Record<string, string | number | boolean | Uint8Array | null | undefined>;

export interface RequestOptions {
	query?: Query | undefined;
	json?: unknown;
	body?: BodyInit | undefined;
	headers?: Record<string, string> | undefined;
	timeoutMs?: number | undefined;
	signal?: AbortSignal | undefined;
}

export interface Failure {
	status: number;
	code: string;
	message: string;
	retryable?: boolean;
	outcome?: Outcome;
	details?: Record<string, unknown>;
	requestId?: string | null;
	retryAfterMs?: number | null;
	cause?: unknown;
}

export class ApiError extends Error {
	/** 0: there was no answer. */
	readonly status: number;
	readonly code: string;
	readonly retryable: boolean;
	/** Whether a change was made; null: the question does not arise. */
	readonly outcome: Outcome;
	readonly details: Record<string, unknown>;
	readonly requestId: string | null;
	readonly retryAfterMs: number | null;

	constructor(failure: Failure) {
		super(failure.message, { cause: failure.cause });
		this.name = 'ApiError';
		this.status = failure.status;
		this.code = failure.code;
		this.retryable = failure.retryable ?? false;
		this.outcome = failure.outcome ?? null;
		this.details = failure.details ?? {};
		this.requestId = failure.requestId ?? null;
		this.retryAfterMs = failure.retryAfterMs ?? null;
	}
}

const TIMEOUT_MS = 10_000;
const UNRESERVED = /[A-Za-z0-9\-._~]/;

/** Percent-encodes all bytes but the unreserved ones, so that a slash stays within its segment. */
export function percentEncode(bytes: Uint8Array): string {
	let encoded = '';
	for (const byte of bytes) {
		const character = String.fromCharCode(byte);
		encoded += UNRESERVED.test(character)
			? character
			: `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
	}
	return encoded;
}

export function url(path: string, query: Query = {}): string {
	const pairs: string[] = [];
	for (const [name, value] of Object.entries(query)) {
		if (value === null || value === undefined) continue;
		const encoded =
			typeof value === 'object' ? percentEncode(value) : encodeURIComponent(String(value));
		pairs.push(`${encodeURIComponent(name)}=${encoded}`);
	}
	return pairs.length === 0 ? path : `${path}?${pairs.join('&')}`;
}

const unauthorized = new Set<() => void>();

/** Calls `listener` whenever an answer says that nobody is signed in. */
export function onUnauthorized(listener: () => void): () => void {
	unauthorized.add(listener);
	return () => unauthorized.delete(listener);
}

/** Asks, and answers with the response of a request that succeeded; `signal` cancels it. */
export async function raw(
	method: Method,
	path: string,
	options: RequestOptions = {}
): Promise<Response> {
	const deadline = new AbortController();
	const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
	const timer = Number.isFinite(timeoutMs)
		? setTimeout(() => deadline.abort(), timeoutMs)
		: undefined;
	const signals = options.signal ? [deadline.signal, options.signal] : [deadline.signal];
	try {
		const response = await fetch(url(path, options.query), {
			method,
			headers: headersOf(options),
			body: options.json === undefined ? (options.body ?? null) : JSON.stringify(options.json),
			signal: AbortSignal.any(signals),
			cache: 'no-store',
			credentials: 'same-origin'
		});
		if (!response.ok) throw await problemOf(response, changes(method));
		return response;
	} catch (error) {
		if (error instanceof ApiError || options.signal?.aborted) throw error;
		throw unanswered(method, error, deadline.signal.aborted ? timeoutMs : null);
	} finally {
		clearTimeout(timer);
	}
}

/** Asks for JSON. An empty answer is undefined. */
export async function request<T>(
	method: Method,
	path: string,
	options: RequestOptions = {}
): Promise<T> {
	const response = await raw(method, path, options);
	return parse<T>(method, response);
}

/** Reads the JSON of an answer; one that breaks off is a failure like any other. */
export async function parse<T>(method: Method, response: Response): Promise<T> {
	try {
		const text = await response.text();
		return (text === '' ? undefined : JSON.parse(text)) as T;
	} catch (error) {
		throw unanswered(method, error, null);
	}
}

/** Whether the launcher answers at all, whatever it says. */
export async function answers(): Promise<boolean> {
	try {
		await raw('GET', '/api/v1/cluster', { timeoutMs: 2_000 });
		return true;
	} catch (error) {
		return error instanceof ApiError && error.status !== 0;
	}
}

function changes(method: Method): boolean {
	return method !== 'GET' && method !== 'HEAD';
}

function headersOf(options: RequestOptions): Headers {
	const headers = new Headers(options.headers);
	// What was done here is told from what scripts do, in the list of events.
	headers.set('x-axon-actor', 'dashboard');
	if (options.json !== undefined) headers.set('content-type', 'application/json');
	return headers;
}

function unanswered(method: Method, cause: unknown, timeoutMs: number | null): ApiError {
	const late = timeoutMs !== null;
	const seconds = (timeoutMs ?? 0) / 1000;
	return new ApiError({
		status: 0,
		code: late ? 'timeout' : 'unreachable',
		message: late
			? `There was no answer within ${seconds} s.`
			: 'The launcher did not answer. Is it running?',
		retryable: true,
		// A request without an answer may still have been carried out.
		outcome: changes(method) ? 'unknown' : null,
		cause
	});
}

/** Makes an error of an answer that is one. */
export async function problemOf(response: Response, changed: boolean): Promise<ApiError> {
	if (response.status === 401) for (const listener of unauthorized) listener();
	const problem = await readProblem(response);
	const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
	return new ApiError({
		status: response.status,
		code: problem.code ?? 'http',
		message: problem.error ?? `The answer was ${response.status} ${response.statusText}`.trim(),
		retryable: problem.retryable ?? false,
		outcome: changed ? (problem.outcome ?? null) : null,
		details: problem.details ?? {},
		requestId: response.headers.get('x-request-id'),
		retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : null
	});
}

/** What stands between the page and the launcher may answer with something else than a problem. */
async function readProblem(response: Response): Promise<Partial<Problem>> {
	try {
		const body: unknown = await response.json();
		return typeof body === 'object' && body !== null ? (body as Partial<Problem>) : {};
	} catch {
		return {};
	}
}
