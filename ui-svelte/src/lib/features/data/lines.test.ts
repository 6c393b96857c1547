// @vitest-environment node
import { describe, expect, it } from 'vitest';
import { rowsOf } from './lines';

const COLUMNS = 40;

describe('rows of text', () => {
	it('are its lines, empty ones too', () => {
		expect(rowsOf('a\n\nb\n', 80)).toEqual([
			{ line: 1, text: 'a' },
			{ line: 2, text: '' },
			{ line: 3, text: 'b' },
			{ line: 4, text: '' }
		]);
	});

	it('go on when a line is long, and halve no character', () => {
		const text = 'x'.repeat(COLUMNS - 1) + '🦀'.repeat(COLUMNS);
		const rows = rowsOf(text, COLUMNS);
		expect(rows.map((row) => row.text).join('')).toBe(text);
		expect(rows.map((row) => row.line)).toEqual([1, ...rows.slice(1).map(() => null)]);
		expect(rows.every((row) => row.text.length <= COLUMNS)).toBe(true);
		expect(rows.every((row) => !/^[\udc00-\udfff]/.test(row.text))).toBe(true);
	});
});
