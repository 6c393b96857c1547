/**
 * Where on the data page one is, in the page's own address. Keys are bytes: what is no text stays
 * percent-encoded, which `URLSearchParams` cannot read back.
 */
import { percentEncode } from '$lib/api/client';
import type { Bytes } from './range';

export type Read = 'linearizable' | 'stale';

export interface Place {
	readonly prefix: Bytes;
	/** The key that is open. */
	readonly key: Bytes | null;
	/** Null: as chosen last. */
	readonly read: Read | null;
}

const NO_BYTES: Bytes = new Uint8Array();

/** Undoes percent-encoding; what is no encoding stands for itself. */
function decode(text: string): Bytes {
	const encoded = new TextEncoder().encode(text.replaceAll('+', ' '));
	const bytes: number[] = [];
	for (let at = 0; at < encoded.length; at += 1) {
		const digits = String.fromCharCode(...encoded.subarray(at + 1, at + 3));
		if (encoded[at] === 0x25 && /^[0-9a-f]{2}$/i.test(digits)) {
			bytes.push(parseInt(digits, 16));
			at += 2;
		} else {
			bytes.push(encoded[at] ?? 0);
		}
	}
	return Uint8Array.from(bytes);
}

export function parsePlace(search: string): Place {
	const found = new Map<string, string>();
	for (const pair of search.replace(/^\?/, '').split('&')) {
		const equals = pair.indexOf('=');
		if (equals > 0) found.set(pair.slice(0, equals), pair.slice(equals + 1));
	}
	const read = found.get('read');
	const key = decode(found.get('key') ?? '');
	return {
		prefix: decode(found.get('prefix') ?? ''),
		key: key.length > 0 ? key : null,
		read: read === 'linearizable' || read === 'stale' ? read : null
	};
}

function search(values: Record<string, Uint8Array | string | null>): string {
	const pairs: string[] = [];
	for (const [name, value] of Object.entries(values)) {
		if (value === null || value.length === 0) continue;
		pairs.push(`${name}=${typeof value === 'string' ? value : percentEncode(value)}`);
	}
	return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

export function dataHref(place: Partial<Place>): string {
	const { prefix = NO_BYTES, key = null, read = null } = place;
	return `/data${search({ prefix, key, read })}`;
}

export function watchHref(prefix: Uint8Array): string {
	return `/data/watch${search({ prefix })}`;
}
