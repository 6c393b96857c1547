import { expect, it } from 'vitest';
import { Kept } from './kept';

const line = (text: string) => ({ time: null, level: null, text });
const shown = (kept: Kept) =>
	kept.entries.map(({ id, line, dropped }) => [id, line ? line.text : dropped]);

it('takes lines and gaps in, in order, when it is told to', () => {
	const kept = new Kept();
	kept.lines([line('a'), line('b')]);
	kept.gap(3);
	kept.gap(null);
	expect(kept.entries).toEqual([]);
	expect(kept.flush()).toBe(true);
	expect(kept.flush()).toBe(false);
	expect(shown(kept)).toEqual([
		[1, 'a'],
		[2, 'b'],
		[3, 3],
		[4, null]
	]);
});

it('keeps the newest, under the numbers they had', () => {
	const kept = new Kept(3);
	kept.lines([line('a'), line('b')]);
	kept.flush();
	kept.lines([line('c'), line('d')]);
	kept.flush();
	expect(shown(kept)).toEqual([
		[2, 'b'],
		[3, 'c'],
		[4, 'd']
	]);
	kept.lines(['e', 'f', 'g', 'h'].map(line));
	kept.flush();
	expect(shown(kept)).toEqual([
		[6, 'f'],
		[7, 'g'],
		[8, 'h']
	]);
	kept.clear();
	kept.lines([line('i')]);
	kept.flush();
	expect(shown(kept)).toEqual([[9, 'i']]);
});
