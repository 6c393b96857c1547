// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { dataHref, parsePlace, watchHref } from './address';
import { utf8 } from './range';

describe('the address of a place', () => {
	it('leads back to the same bytes', () => {
		const all = Uint8Array.from({ length: 256 }, (_, i) => i);
		for (const key of [all, utf8('a/b c+d&e=f?#%41'), utf8('..'), utf8('🦀<script>')]) {
			const href = dataHref({ prefix: key, key, read: 'stale' });
			const { search } = new URL(href, 'http://x');
			expect(parsePlace(search)).toEqual({ prefix: key, key, read: 'stale' });
		}
	});

	it('says only what is not as usual', () => {
		expect(dataHref({})).toBe('/data');
		expect(dataHref({ prefix: utf8('a/'), key: null })).toBe('/data?prefix=a%2F');
		expect(watchHref(utf8('a/'))).toBe('/data/watch?prefix=a%2F');
		expect(watchHref(new Uint8Array())).toBe('/data/watch');
	});

	it('is read as others write it', () => {
		const place = parsePlace('?key=a+b%2fc&prefix=%zz&read=other&x');
		expect(place).toEqual({ prefix: utf8('%zz'), key: utf8('a b/c'), read: null });
		expect(parsePlace('')).toEqual({ prefix: new Uint8Array(), key: null, read: null });
	});
});
