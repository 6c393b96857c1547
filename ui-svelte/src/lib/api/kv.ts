// Keys and values. Bytes in, bytes out: how they travel is known here only.

import { backOff } from './backoff';
import { decodeText, encodeText } from './base64';
import { ApiError, parse, percentEncode, raw, request } from './client';
import { sse, type Closable } from './sse';
import type {
	Delete,
	Folder,
	History,
	HistoryEntry,
	KeyValue,
	Page,
	Problem,
	Put,
	WatchChange
} from './types';

/** `local` reads what one node has applied: it may be stale, and is there without a leader. */
export type Consistency = 'linearizable' | 'local';

export interface Freshness {
	consistency?: Consistency | undefined;
	/** As the store was at this revision. */
	revision?: number | undefined;
	/** The node that is asked; the leader, or the best there is, when absent. */
	node?: string | undefined;
}

export interface Range {
	prefix?: Uint8Array | undefined;
	start?: Uint8Array | undefined;
	end?: Uint8Array | undefined;
}

export interface PageQuery extends Range, Freshness {
	limit?: number | undefined;
	cursor?: string | undefined;
	reverse?: boolean | undefined;
	keysOnly?: boolean | undefined;
	/** At most so many bytes of each value. */
	preview?: number | undefined;
}

export interface Entry {
	key: Uint8Array;
	/** null: it was left out. Shorter than `size` when only a preview was asked for. */
	value: Uint8Array | null;
	/** Bytes of the whole value; null: it was left out. */
	size: number | null;
	create_revision: number;
	mod_revision: number;
	version: number;
}

/** Who answered a read, and how far they were. */
export interface Read {
	revision: number | null;
	servedBy: string | null;
	/** Of local reads: the last entry of the log in it. */
	appliedIndex: number | null;
}

export interface EntryPage {
	items: Entry[];
	next: string | null;
	revision: number;
	read: Read;
}

export interface Child {
	prefix: Uint8Array;
	count: number;
	/** Counting ended there: there may be more. */
	more: boolean;
}

export interface ChildPage {
	/** Folders and keys of one level, in the order of the keys. */
	children: Child[];
	items: Entry[];
	next: string | null;
	revision: number;
}

export type Version =
	{ deleted: false; entry: Entry } | { deleted: true; key: Uint8Array; mod_revision: number };

const KV = '/api/v1/kv';

// A browser takes the segments `.` and `..` out of an address, however they are encoded: these two
// keys have no path of their own, and go through a transaction or a range instead.
const hasNoPath = (key: Uint8Array) => /^\.\.?$/.test(encodeText(key).text);

const keyPath = (key: Uint8Array) => `${KV}/${percentEncode(key)}`;

const DIGITS = /^\d+$/;

function numberOf(header: string | null): number | null {
	return header !== null && DIGITS.test(header) ? Number(header) : null;
}

function readOf(headers: Headers): Read {
	return {
		revision: numberOf(headers.get('x-axon-revision')),
		servedBy: headers.get('x-axon-served-by'),
		appliedIndex: numberOf(headers.get('x-axon-applied-index'))
	};
}

function entryOf(wire: KeyValue): Entry {
	const value = wire.value === undefined ? null : decodeText(wire.value, wire.encoding);
	return {
		key: decodeText(wire.key, wire.key_encoding),
		value,
		size: wire.value_bytes ?? value?.length ?? null,
		create_revision: wire.create_revision,
		mod_revision: wire.mod_revision,
		version: wire.version
	};
}

function rangeQuery({ prefix, start, end }: Range) {
	return { prefix: prefix?.length === 0 ? undefined : prefix, start, end };
}

function pageQuery(query: PageQuery) {
	const { limit, cursor, reverse, preview, consistency, revision, node } = query;
	const flags = {
		reverse: reverse === true ? true : undefined,
		keys_only: query.keysOnly === true ? true : undefined
	};
	const rest = { limit, cursor, preview, consistency, revision, node };
	return { ...rangeQuery(query), ...rest, ...flags };
}

export async function getPage(query: PageQuery, signal?: AbortSignal): Promise<EntryPage> {
	const response = await raw('GET', KV, { query: pageQuery(query), signal });
	const page = await parse<Page>('GET', response);
	const { next, revision } = page;
	return { items: page.items.map(entryOf), next, revision, read: readOf(response.headers) };
}

/** One level of the tree: what lies below `prefix` up to the next `delimiter`. */
export async function prefixes(
	query: Omit<PageQuery, 'start' | 'end'> & { delimiter: Uint8Array },
	signal?: AbortSignal
): Promise<ChildPage> {
	const asked = { ...pageQuery(query), delimiter: query.delimiter };
	const page = await request<Page>('GET', KV, { query: asked, signal });
	const { next, revision } = page;
	return {
		children: (page.prefixes ?? []).map(childOf),
		items: page.items.map(entryOf),
		next,
		revision
	};
}

function childOf({ prefix, key_encoding, count, more }: Folder): Child {
	return { prefix: decodeText(prefix, key_encoding), count, more: more ?? false };
}

export interface Count {
	count: number;
	revision: number;
}

export async function countKeys(
	query: Range & Freshness = {},
	signal?: AbortSignal
): Promise<Count> {
	const asked = { ...pageQuery(query), count_only: true };
	const { count, revision } = await request<Page>('GET', KV, { query: asked, signal });
	return { count: count ?? 0, revision };
}

export interface ExportedLines {
	/** A key with its value a line, in JSON. */
	body: ReadableStream<Uint8Array<ArrayBuffer>>;
	read: Read;
}

/** All keys of a range as they are at one revision, as they arrive. */
export async function exportLines(
	query: Range & Freshness,
	signal: AbortSignal
): Promise<ExportedLines> {
	const headers = { accept: 'application/x-ndjson' };
	const response = await raw('GET', KV, { query: pageQuery(query), headers, signal });
	return { body: response.body ?? new Blob([]).stream(), read: readOf(response.headers) };
}

export interface Found {
	entry: Entry;
	read: Read;
}

/** Reads a key; null: there is none. With `preview`, at most so many bytes of its value. */
export async function getKey(
	key: Uint8Array,
	{ preview, ...freshness }: Freshness & { preview?: number | undefined } = {},
	signal?: AbortSignal
): Promise<Found | null> {
	if (preview !== undefined || hasNoPath(key)) {
		const { items, read } = await getPage({ ...only(key), ...freshness, preview }, signal);
		return items[0] ? { entry: items[0], read } : null;
	}
	const headers = { accept: 'application/json' };
	try {
		const response = await raw('GET', keyPath(key), { query: { ...freshness }, headers, signal });
		const entry = entryOf(await parse<KeyValue>('GET', response));
		return { entry, read: readOf(response.headers) };
	} catch (error) {
		if (isAbsent(error)) return null;
		throw error;
	}
}

// A node of that name, or a path that this launcher does not have, is not found either.
function isAbsent(error: unknown): boolean {
	return error instanceof ApiError && error.code === 'not_found' && error.requestId !== null;
}

/** The range that holds this key and no other. */
function only(key: Uint8Array): Range & { limit: number } {
	const end = new Uint8Array(key.length + 1);
	end.set(key);
	return { start: key, end, limit: 1 };
}

export interface PutOptions {
	/** Only if the key was last changed by this revision. */
	ifMatch?: number | undefined;
	/** Only if the key is absent. */
	ifNoneMatch?: '*' | undefined;
	/** The same request again is carried out once. */
	idempotencyKey?: string | undefined;
}

function conditions({ ifMatch, ifNoneMatch, idempotencyKey }: PutOptions): Record<string, string> {
	return {
		...(ifMatch === undefined ? {} : { 'if-match': `"${ifMatch}"` }),
		...(ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch }),
		...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey })
	};
}

export async function putKey(
	key: Uint8Array,
	value: Uint8Array,
	options: PutOptions = {}
): Promise<Put> {
	if (hasNoPath(key)) {
		const done = await changeOne(
			key,
			{ put: { ...keyFields(key), ...valueFields(value) } },
			options
		);
		return { revision: done.revision, previous_revision: null };
	}
	// A copy: the request must not see what the caller does to the bytes later.
	const body = new Blob([value.slice()], { type: 'application/octet-stream' });
	return request('PUT', keyPath(key), { body, headers: conditions(options) });
}

export async function deleteKey(
	key: Uint8Array,
	options: Pick<PutOptions, 'ifMatch' | 'idempotencyKey'> = {}
): Promise<Delete> {
	if (hasNoPath(key)) {
		const { revision, results } = await changeOne(key, { delete: keyFields(key) }, options);
		const result = results[0];
		return { revision, deleted: result && 'delete' in result ? result.delete.deleted : 0 };
	}
	return request('DELETE', keyPath(key), { headers: conditions(options) });
}

/** Deletes all keys with the prefix; with the empty one, all keys there are. */
export function deletePrefix(
	prefix: Uint8Array,
	options: Pick<PutOptions, 'idempotencyKey'> = {}
): Promise<Delete> {
	const query = prefix.length === 0 ? { confirm: 'all' } : { prefix };
	return request('DELETE', KV, { query, headers: conditions(options), timeoutMs: 60_000 });
}

/** Deletes the keys from `start` on and before `end`: up to 1,000 of them as one change. */
export function deleteRange(
	{ start, end }: Required<Pick<Range, 'start' | 'end'>>,
	options: Pick<PutOptions, 'idempotencyKey'> = {}
): Promise<Delete> {
	return request('DELETE', KV, { query: { start, end }, headers: conditions(options) });
}

export interface HistoryPage {
	/** Newest first. */
	versions: Version[];
	/** What `before` is for the next page; null: this was the last. */
	next: number | null;
}

export async function history(
	key: Uint8Array,
	query: { limit?: number | undefined; before?: number | undefined } & Omit<
		Freshness,
		'revision'
	> = {},
	signal?: AbortSignal
): Promise<HistoryPage> {
	if (hasNoPath(key)) {
		const message = 'A browser cannot ask for the history of the keys "." and "..".';
		throw new ApiError({ status: 0, code: 'no_path', message });
	}
	const path = `/api/v1/history/${percentEncode(key)}`;
	const { versions, next } = await request<History>('GET', path, { query: { ...query }, signal });
	return { versions: versions.map(versionOf), next };
}

function versionOf(wire: HistoryEntry): Version {
	if (!('deleted' in wire)) return { deleted: false, entry: entryOf(wire) };
	const { key, key_encoding, mod_revision } = wire;
	return { deleted: true, key: decodeText(key, key_encoding), mod_revision };
}

// Transactions, as the wire has them.

export interface TxnBody {
	compare: TxnCompare[];
	success: TxnOp[];
	failure?: TxnOp[];
}

interface KeyFields {
	key: string;
	key_encoding?: 'base64';
}

interface ValueFields {
	value: string;
	encoding?: 'base64';
}

export type TxnCompare = KeyFields & { op: '=' | '!=' | '<' | '>' } & (
		| { target: 'version'; version: number }
		| { target: 'create_revision'; create_revision: number }
		| { target: 'mod_revision'; mod_revision: number }
		| ({ target: 'value' } & ValueFields)
	);

export type TxnOp =
	| { get: KeyFields }
	| { put: KeyFields & ValueFields }
	| { delete: KeyFields }
	| { delete_range: { prefix: string; key_encoding?: 'base64' } };

export type TxnResult =
	| { get: { kv: KeyValue | null } }
	| { put: { mod_revision: number; version: number } }
	| { delete: { deleted: number } }
	| { delete_range: { deleted: number } };

export interface TxnAnswer {
	succeeded: boolean;
	revision: number;
	results: TxnResult[];
}

export function keyFields(key: Uint8Array): KeyFields {
	const { text, encoding } = encodeText(key);
	return encoding ? { key: text, key_encoding: encoding } : { key: text };
}

export function valueFields(value: Uint8Array): ValueFields {
	const { text, encoding } = encodeText(value);
	return encoding ? { value: text, encoding } : { value: text };
}

export const txn = (body: TxnBody, options: Pick<PutOptions, 'idempotencyKey'> = {}) =>
	request<TxnAnswer>('POST', '/api/v1/txn', { json: body, headers: conditions(options) });

/** A change of one key as a transaction, with the conditions and errors of its own path. */
async function changeOne(key: Uint8Array, op: TxnOp, options: PutOptions): Promise<TxnAnswer> {
	const compare: TxnCompare[] = [];
	const fields = keyFields(key);
	if (options.ifMatch !== undefined) {
		const mod_revision = options.ifMatch;
		compare.push({ ...fields, target: 'mod_revision', op: '=', mod_revision });
	}
	if (options.ifNoneMatch !== undefined) {
		compare.push({ ...fields, target: 'version', op: '=', version: 0 });
	}
	const body = { compare, success: [op], failure: [{ get: fields }] };
	// The compares say what the headers of a single key's path would.
	const answer = await txn(body, { idempotencyKey: options.idempotencyKey });
	if (answer.succeeded) return answer;
	const found = answer.results[0];
	const current = found && 'get' in found ? (found.get.kv?.mod_revision ?? null) : null;
	throw new ApiError({
		status: 412,
		code: 'precondition_failed',
		message:
			current === null ? 'the key is absent' : `the key was last changed by revision ${current}`,
		outcome: 'not_applied',
		details: { current_revision: current }
	});
}

// Watching.

export type Change =
	| { type: 'put'; entry: Entry; previous: Entry | null }
	| { type: 'delete'; key: Uint8Array; mod_revision: number; previous: Entry | null };

export interface WatchQuery extends Range {
	key?: Uint8Array | undefined;
	/** Begin with the changes of this revision; with those from now on when absent. */
	from?: number | undefined;
	/** Begin with what exists. */
	initial?: boolean | undefined;
	/** Tell also what a key was before. */
	previous?: boolean | undefined;
	node?: string | undefined;
}

export interface WatchHandlers {
	/** What one revision changed, in the order of the keys. */
	onchange: (revision: number, changes: Change[]) => void;
	/** Everything up to this revision was told. */
	onprogress?: (revision: number) => void;
	/** Changes from `from` to `to` are gone untold. */
	onresync?: (from: number, to: number) => void;
	onopen?: () => void;
	/** It broke off and comes back at `retryAt`; null: it does not. */
	onbreak?: (error: ApiError | null, retryAt: number | null) => void;
}

/** Follows what changes; comes back by itself where it left off. */
export function watch(query: WatchQuery, handlers: WatchHandlers): Closable {
	const { key, from, initial, previous, node } = query;
	const flags = {
		initial: initial === true ? true : undefined,
		previous: previous === true ? true : undefined
	};
	const asked = { ...rangeQuery(query), key, from, node, ...flags };
	let ended: ApiError | null = null;
	return sse(
		'/api/v1/watch',
		{ query: asked },
		{
			onopen: () => handlers.onopen?.(),
			onmessage({ event, data }) {
				if (event === 'error') ended = errorOf(JSON.parse(data) as Problem);
				else tell(event, data, handlers);
			},
			onbreak(error, attempt, retryMs) {
				const reason = error ?? ended;
				ended = null;
				const wait = backOff(reason, attempt, retryMs);
				handlers.onbreak?.(reason, wait === null ? null : Date.now() + wait);
				return wait;
			}
		}
	);
}

function tell(event: string, data: string, handlers: WatchHandlers): void {
	const body = JSON.parse(data) as {
		revision: number;
		changes: WatchChange[];
		from: number;
		to: number;
	};
	if (event === 'change') handlers.onchange(body.revision, body.changes.map(changeOf));
	if (event === 'progress') handlers.onprogress?.(body.revision);
	if (event === 'resync') handlers.onresync?.(body.from, body.to);
}

function changeOf(wire: WatchChange): Change {
	const previous = wire.previous ? entryOf(wire.previous) : null;
	if (wire.type === 'put') return { type: 'put', entry: entryOf(wire), previous };
	const { key, key_encoding, mod_revision } = wire;
	return { type: 'delete', key: decodeText(key, key_encoding), mod_revision, previous };
}

function errorOf({ status, code, error, retryable, details }: Problem): ApiError {
	return new ApiError({ status, code, message: error, retryable, details });
}

export type { Closable };
