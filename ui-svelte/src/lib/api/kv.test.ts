import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from './client';
import {
	countKeys,
	deleteKey,
	deletePrefix,
	getKey,
	getPage,
	history,
	keyFields,
	prefixes,
	putKey,
	watch
} from './kv';

const fetched = vi.fn<typeof fetch>();
const bytes = (text: string) => new TextEncoder().encode(text);
const binary = new Uint8Array([0xff, 0x00, 0x2f]);
const envelope = { key: 'a', value: 'hello', create_revision: 1, mod_revision: 3, version: 2 };
const entry = {
	key: bytes('a'),
	value: bytes('hello'),
	size: 5,
	create_revision: 1,
	mod_revision: 3,
	version: 2
};

function answer(body: unknown, headers: Record<string, string> = {}, status = 200): void {
	fetched.mockResolvedValueOnce(new Response(JSON.stringify(body), { status, headers }));
}

const asked = () => String(fetched.mock.lastCall?.[0]);
const headers = () => new Headers(fetched.mock.lastCall?.[1]?.headers);

beforeEach(() => void vi.stubGlobal('fetch', fetched));
afterEach(() => {
	vi.unstubAllGlobals();
	fetched.mockReset();
});

describe('a key', () => {
	it('is read with who answered', async () => {
		answer(envelope, {
			'x-axon-revision': '9',
			'x-axon-served-by': 'node2',
			'x-axon-applied-index': '14'
		});
		const found = await getKey(bytes('a/ü'), { consistency: 'local', node: 'node2' });
		expect(asked()).toBe('/api/v1/kv/a%2F%C3%BC?consistency=local&node=node2');
		expect(headers().get('accept')).toBe('application/json');
		expect(found?.entry).toEqual(entry);
		expect(found?.read).toEqual({ revision: 9, servedBy: 'node2', appliedIndex: 14 });
	});

	it('is told apart from a node that is absent', async () => {
		answer({ code: 'not_found', error: 'no value' }, { 'x-request-id': 'r-1' }, 404);
		expect(await getKey(bytes('a'))).toBeNull();
		answer({ code: 'not_found', error: 'there is no node "x"' }, {}, 404);
		await expect(getKey(bytes('a'), { node: 'x' })).rejects.toBeInstanceOf(ApiError);
	});

	it('may be any bytes', async () => {
		answer({ ...envelope, key: '/wAv', key_encoding: 'base64', value: '/wAv', encoding: 'base64' });
		const found = await getKey(binary);
		expect(asked()).toBe('/api/v1/kv/%FF%00%2F');
		expect([found?.entry.key, found?.entry.value]).toEqual([binary, binary]);
	});

	it('is shown in part, with the size of the whole', async () => {
		answer({ items: [{ ...envelope, value: 'he', value_bytes: 5 }], next: null, revision: 3 });
		const found = await getKey(bytes('a'), { preview: 2 });
		expect(asked()).toBe('/api/v1/kv?start=a&end=a%00&limit=1&preview=2');
		expect(found?.entry).toEqual({ ...entry, value: bytes('he') });
	});

	it('is written as it is, under its conditions', async () => {
		answer({ revision: 4, previous_revision: 3 });
		const put = await putKey(bytes('a'), binary, { ifMatch: 3, idempotencyKey: 'once' });
		expect(put).toEqual({ revision: 4, previous_revision: 3 });
		expect(headers().get('if-match')).toBe('"3"');
		expect(headers().get('idempotency-key')).toBe('once');
		const body = fetched.mock.lastCall?.[1]?.body as Blob;
		expect(body.size).toBe(3);
		answer({ deleted: 1, revision: 5 });
		expect(await deleteKey(bytes('a'))).toEqual({ deleted: 1, revision: 5 });
		expect(headers().get('if-match')).toBeNull();
	});

	it('that a browser takes out of a path goes another way', async () => {
		answer({ succeeded: true, revision: 7, results: [{ put: { mod_revision: 7, version: 1 } }] });
		await putKey(bytes('..'), bytes('x'), { ifNoneMatch: '*' });
		expect(asked()).toBe('/api/v1/txn');
		expect(JSON.parse(String(fetched.mock.lastCall?.[1]?.body))).toEqual({
			compare: [{ key: '..', target: 'version', op: '=', version: 0 }],
			success: [{ put: { key: '..', value: 'x' } }],
			failure: [{ get: { key: '..' } }]
		});
		answer({
			succeeded: false,
			revision: 7,
			results: [{ get: { kv: { ...envelope, key: '.' } } }]
		});
		await expect(deleteKey(bytes('.'), { ifMatch: 1 })).rejects.toMatchObject({
			status: 412,
			code: 'precondition_failed',
			outcome: 'not_applied',
			details: { current_revision: 3 }
		});
		answer({ items: [], next: null, revision: 7 });
		expect(await getKey(bytes('..'))).toBeNull();
		expect(asked()).toBe('/api/v1/kv?start=..&end=..%00&limit=1');
		await expect(history(bytes('..'))).rejects.toMatchObject({ code: 'no_path' });
	});

	it('has a history with what was removed', async () => {
		const gone = { key: 'a', mod_revision: 4, deleted: true };
		answer({ versions: [gone, envelope], next: 3 });
		expect(await history(bytes('a'), { limit: 2 })).toEqual({
			versions: [
				{ deleted: true, key: bytes('a'), mod_revision: 4 },
				{ deleted: false, entry }
			],
			next: 3
		});
	});
});

describe('keys', () => {
	it('come in pages', async () => {
		answer({ items: [envelope], next: 'c1', revision: 9, count: null });
		const page = await getPage({ prefix: bytes('a/'), limit: 2, reverse: true, cursor: 'c0' });
		expect(asked()).toBe('/api/v1/kv?prefix=a%2F&limit=2&cursor=c0&reverse=true');
		expect(page).toMatchObject({ items: [entry], next: 'c1', revision: 9 });
	});

	it('come in folders', async () => {
		const folders = [
			{ prefix: 'a/', count: 2 },
			{ prefix: '/wAv', key_encoding: 'base64', count: 9 }
		];
		answer({
			items: [],
			prefixes: [folders[0], { ...folders[1], more: true }],
			next: null,
			revision: 9
		});
		const { children } = await prefixes({ delimiter: bytes('/'), prefix: bytes('') });
		expect(asked()).toBe('/api/v1/kv?delimiter=%2F');
		expect(children).toEqual([
			{ prefix: bytes('a/'), count: 2, more: false },
			{ prefix: binary, count: 9, more: true }
		]);
	});

	it('are counted, and deleted, all of them only when that is meant', async () => {
		answer({ items: [], next: null, revision: 9, count: 7 });
		expect(await countKeys({ prefix: bytes('a/') })).toEqual({ count: 7, revision: 9 });
		expect(asked()).toBe('/api/v1/kv?prefix=a%2F&count_only=true');
		answer({ deleted: 7, revision: 10 });
		await deletePrefix(bytes('a/'));
		expect(asked()).toBe('/api/v1/kv?prefix=a%2F');
		answer({ deleted: 7, revision: 10 });
		await deletePrefix(bytes(''));
		expect(asked()).toBe('/api/v1/kv?confirm=all');
	});

	it('are named in base64 when they are no text', () => {
		expect(keyFields(binary)).toEqual({ key: '/wAv', key_encoding: 'base64' });
		expect(keyFields(bytes('\u{feff}ü'))).toEqual({ key: '\u{feff}ü' });
	});
});

describe('a watch', () => {
	it('tells changes, and why it ended', async () => {
		const put = { type: 'put', ...envelope, previous: { ...envelope, value: 'old' } };
		const gone = { type: 'delete', key: 'b', mod_revision: 3 };
		const refused = { code: 'compacted', error: 'gone', status: 410, retryable: false };
		const text = [
			`event: change\nid: 3\ndata: ${JSON.stringify({ revision: 3, changes: [put, gone] })}\n\n`,
			'event: progress\nid: 4\ndata: {"revision":4}\n\n',
			'event: resync\nid: 9\ndata: {"from":5,"to":9}\n\n',
			`event: error\ndata: ${JSON.stringify(refused)}\n\n`
		].join('');
		fetched.mockResolvedValueOnce(new Response(text));
		const told: unknown[] = [];
		await new Promise<void>((done) => {
			watch(
				{ prefix: bytes('x/'), from: 3, initial: true },
				{
					onchange: (revision, changes) => told.push(revision, changes),
					onprogress: (revision) => told.push(revision),
					onresync: (from, to) => told.push([from, to]),
					onbreak: (error, retryAt) => {
						told.push(error?.code, retryAt);
						done();
					}
				}
			);
		});
		expect(asked()).toBe('/api/v1/watch?prefix=x%2F&from=3&initial=true');
		const previous = { ...entry, value: bytes('old'), size: 3 };
		expect(told).toEqual([
			3,
			[
				{ type: 'put', entry, previous },
				{ type: 'delete', key: bytes('b'), mod_revision: 3, previous: null }
			],
			4,
			[5, 9],
			'compacted',
			null
		]);
	});
});
