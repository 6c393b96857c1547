// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { prettyJson } from './json';

describe('JSON laid out', () => {
	it('keeps every token as it was written', () => {
		const text =
			'{"n":12345678901234567890,"n":1.0e+2,"s":"a\\"b\\\\","e":{},"l":[ ],"m":[1,[null]]}';
		const pretty = prettyJson(text) ?? '';
		expect(pretty.replace(/\s/g, '')).toBe(text.replace(/\s/g, ''));
		expect(pretty.split('\n').slice(0, 6)).toEqual([
			'{',
			'  "n": 12345678901234567890,',
			'  "n": 1.0e+2,',
			'  "s": "a\\"b\\\\",',
			'  "e": {},',
			'  "l": [],'
		]);
		expect(JSON.parse(pretty)).toEqual(JSON.parse(text));
	});

	it('is null for what is no JSON', () => {
		for (const text of ['', '{', 'a', '{"a":1}x', "{'a':1}"]) expect(prettyJson(text)).toBeNull();
		expect(prettyJson(' "x" ')).toBe('"x"');
	});

	it('holds strings of any length', () => {
		const text = JSON.stringify({ long: 'x"'.repeat(500_000) });
		expect(prettyJson(text)?.length).toBe(text.length + 5);
	});
});
