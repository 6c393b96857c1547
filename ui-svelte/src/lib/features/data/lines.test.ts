// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { ROW_CHARACTERS, rowsOf } from './lines';

describe('rows of text', () => {
	it('are its lines, empty ones too', () => {
		expect(rowsOf('a\n\nb\n')).toEqual([
			{ line: 1, text: 'a' },
			{ line: 2, text: '' },
			{ line: 3, text: 'b' },
			{ line: 4, text: '' }
		]);
	});

	it('go on when a line is long, and halve no character', () => {
		const text = 'x'.repeat(ROW_CHARACTERS - 1) + '🦀'.repeat(ROW_CHARACTERS);
		const rows = rowsOf(text);
		expect(rows.map((row) => row.text).join('')).toBe(text);
		expect(rows.map((row) => row.line)).toEqual([1, ...rows.slice(1).map(() => null)]);
		expect(rows.every((row) => row.text.length <= ROW_CHARACTERS)).toBe(true);
		expect(rows.every((row) => !/^[\udc00-\udfff]/.test(row.text))).toBe(true);
	});
});
