// Moments that are marked in a chart, and which of their labels there is room for.
import type { ChartTone } from './tones';

export interface Mark {
	t: number;
	text: string;
	tone: ChartTone;
}

export interface PlacedMark extends Mark {
	/** In percent from the left. */
	at: number;
	/** null: there is no room for the words, only for the line. */
	label: 'left' | 'right' | null;
}

/** What a label takes in pixels: the font has one width. */
const CHARACTER = 6;
const PADDING = 10;

/** The marks within the chart; the newest have the first claim on room for their words. */
export function placeMarks(
	marks: readonly Mark[],
	from: number,
	to: number,
	width: number
): PlacedMark[] {
	const taken: [number, number][] = [];
	return marks
		.filter((mark) => mark.t > from && mark.t <= to)
		.sort((a, b) => b.t - a.t)
		.map((mark) => {
			const x = ((mark.t - from) / (to - from)) * width;
			const room = mark.text.length * CHARACTER + PADDING;
			const sides: [PlacedMark['label'], number, number][] = [
				['right', x, x + room],
				['left', x - room, x]
			];
			const free = sides.find(
				([, begin, end]) =>
					begin >= 0 && end <= width && taken.every(([a, b]) => end <= a || begin >= b)
			);
			if (free) taken.push([free[1], free[2]]);
			return { ...mark, at: (x / width) * 100, label: free?.[0] ?? null };
		});
}
