import { expect, it } from 'vitest';
import { sparkPaths, thin } from './spark';

it('a spark runs from its lowest to its highest value', () => {
	const { line, area } = sparkPaths(Float64Array.of(0, 10, 5), 200, 34);
	expect(line).toBe('M0.0,31.0L100.0,3.0L200.0,17.0');
	expect(area).toBe('M0.0,31.0L100.0,3.0L200.0,17.0L200.0,34L0.0,34Z');
});

it('a gap breaks the line, and a lone second is seen', () => {
	const { line, area } = sparkPaths(Float64Array.of(1, NaN, 2, 2), 30, 10);
	expect(line.match(/M/g)).toHaveLength(2);
	expect(line).toContain('h0.1');
	expect(area.match(/Z/g)).toHaveLength(2);
});

it('what never changes lies at the bottom, and nothing is nothing', () => {
	expect(sparkPaths(Float64Array.of(4, 4), 10, 10).line).toBe('M0.0,7.0L10.0,7.0');
	expect(sparkPaths(Float64Array.of(NaN, NaN), 10, 10)).toEqual({ line: '', area: '' });
	expect(sparkPaths(new Float64Array(), 10, 10)).toEqual({ line: '', area: '' });
});

it('many seconds are means of neighbours, and unknown stretches stay unknown', () => {
	const values = Float64Array.from({ length: 300 }, (_, i) => (i < 150 ? i % 5 : NaN));
	const thinned = thin(values);
	expect(thinned).toHaveLength(60);
	expect(thinned[0]).toBe(2);
	expect(thinned[59]).toBeNaN();
});
