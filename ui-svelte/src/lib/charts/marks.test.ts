import { expect, it } from 'vitest';
import { placeMarks, type Mark } from './marks';

const mark = (t: number, text = 'term 4'): Mark => ({ t, text, tone: 'accent' });

it('a label stands where there is room for it', () => {
	const places = (marks: Mark[]) =>
		placeMarks(marks, 0, 1_000, 400).map(({ at, label }) => [at, label]);
	expect(places([mark(500)])).toEqual([[50, 'right']]);
	expect(places([mark(990)])).toEqual([[99, 'left']]);
	expect(places([mark(500), mark(520)])).toEqual([
		[52, 'right'],
		[50, 'left']
	]);
	expect(places([mark(500), mark(510), mark(520)]).map(([, label]) => label)).toEqual([
		'right',
		'left',
		null
	]);
});

it('what is outside of the chart is not marked', () => {
	expect(placeMarks([mark(0), mark(1_001)], 0, 1_000, 400)).toEqual([]);
	expect(placeMarks([mark(500, 'a sentence that is much too long for it')], 0, 1_000, 100)).toEqual(
		[
			{
				t: 500,
				text: 'a sentence that is much too long for it',
				tone: 'accent',
				at: 50,
				label: null
			}
		]
	);
});
