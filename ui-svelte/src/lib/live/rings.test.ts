import { describe, expect, it } from 'vitest';
import type { Tick } from '../api/types';
import { Rings, ROWS_MAX } from './rings';

const T0 = 1_700_000_000_000;
const ALL = Number.POSITIVE_INFINITY;

function tick(second: number, writes: number | null = second, lag: number | null = 1): Tick {
	const rest = { errors: 0, write_p50_ms: null, write_p99_ms: 2, read_p99_ms: 3 };
	const nodes = { node1: { lag, cpu: 0.5, rss: null, log_bytes: 9 } };
	return { t: T0 + second * 1_000, reads: 1, writes, ...rest, nodes };
}

const seconds = (rings: Rings) => [...rings.times(-ALL, ALL)].map((t) => (t - T0) / 1_000);
const writes = (rings: Rings) => [...rings.cluster('writes', -ALL, ALL)];

describe('the rings', () => {
	it('have what was told, and gaps where nothing was', () => {
		const rings = new Rings();
		rings.take([tick(1), tick(2, null), tick(9)]);
		expect(seconds(rings)).toEqual([1, 2, 3, 9]);
		expect(writes(rings)).toEqual([1, NaN, NaN, 9]);
		expect([...rings.node('node1', 'lag', -ALL, ALL)]).toEqual([1, 1, NaN, 1]);
		expect([...rings.node('node1', 'rss', -ALL, ALL)]).toEqual([NaN, NaN, NaN, NaN]);
		expect([...rings.node('node9', 'lag', -ALL, ALL)]).toEqual([NaN, NaN, NaN, NaN]);
	});

	it('take nothing twice', () => {
		const rings = new Rings();
		rings.take([tick(1), tick(2)]);
		rings.take([tick(1, 100), tick(2, 100), tick(3)]);
		expect(writes(rings)).toEqual([1, 2, 3]);
	});

	it('begin anew when the clock was set back', () => {
		const rings = new Rings();
		rings.take([tick(1_000), tick(1_001)]);
		rings.take([tick(999)]);
		expect(seconds(rings)).toEqual([1_000, 1_001]);
		rings.take([tick(5)]);
		expect(seconds(rings)).toEqual([5]);
	});

	it('show a range, in copies', () => {
		const rings = new Rings();
		rings.take([tick(1), tick(2), tick(3), tick(4)]);
		const [since, until] = [T0 + 1_000, T0 + 3_000];
		const shown = rings.cluster('writes', since, until);
		expect([...shown]).toEqual([2, 3]);
		expect([...rings.times(since, until)]).toEqual([T0 + 2_000, T0 + 3_000]);
		shown[0] = 99;
		expect(writes(rings)).toEqual([1, 2, 3, 4]);
	});

	it('keep an hour, and forget nodes that are gone for that long', () => {
		const rings = new Rings();
		const gone: Tick = {
			...tick(0),
			nodes: { old: { lag: 7, cpu: null, rss: null, log_bytes: null } }
		};
		rings.take([gone]);
		for (let second = 1; second < 3 * ROWS_MAX; second++) rings.take([tick(second)]);
		const shown = seconds(rings);
		expect(shown).toHaveLength(ROWS_MAX);
		expect([shown[0], shown.at(-1)]).toEqual([2 * ROWS_MAX, 3 * ROWS_MAX - 1]);
		expect(writes(rings)).toEqual(shown);
		expect([...rings.dump().columns.keys()].filter((key) => key.startsWith('old'))).toEqual([]);
	});

	it('can be handed on', () => {
		const rings = new Rings();
		for (let second = 0; second < ROWS_MAX + 10; second++) rings.take([tick(second)]);
		const other = new Rings();
		other.load(structuredClone(rings.dump()));
		for (const each of [rings, other]) each.take([tick(ROWS_MAX + 10)]);
		expect(seconds(other)).toEqual(seconds(rings));
		expect(writes(other)).toEqual(writes(rings));
		expect(other.last).toBe(rings.last);
	});
});
