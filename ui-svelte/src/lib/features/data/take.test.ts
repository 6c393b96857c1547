// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { utf8 } from './range';
import { curlOf, exportName, fileName } from './take';

describe('what is taken out of the page', () => {
	it('names the key to curl, whatever its bytes', () => {
		expect(curlOf(utf8("a/b'c ü"), 'http://h:1')).toBe(
			"curl --path-as-is 'http://h:1/api/v1/kv/a%2Fb%27c%20%C3%BC'"
		);
	});

	it('has names of files that are only names', () => {
		expect(fileName(utf8('config/limits/rps'))).toBe('rps');
		expect(fileName(utf8('../../etc/'))).toBe('etc_');
		expect(fileName(utf8('..'))).toBe('value');
		expect(fileName(utf8('<script>'))).toBe('_script_');
		expect(fileName(Uint8Array.of(0xff))).toBe('_xff');
		expect(exportName(utf8(''))).toBe('axon-all.jsonl');
		expect(exportName(utf8('users/'))).toBe('axon-users_.jsonl');
	});
});
