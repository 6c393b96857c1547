import { describe, expect, it } from 'vitest';
import { highlight, lineTime, readLine } from './line';

describe('readLine', () => {
	it('takes a line of text apart', () => {
		expect(
			readLine(
				'2026-11-23T09:42:05.905514Z  INFO axon_server: serving name="node1" api=127.0.0.1:9600 told="a b"'
			)
		).toEqual({
			target: 'axon_server',
			message: 'serving',
			fields: [
				['name', 'node1'],
				['api', '127.0.0.1:9600'],
				['told', '"a b"']
			]
		});
	});

	it('leaves what looks like a field inside of a message where it is', () => {
		const { message, fields } = readLine(
			'2026-11-23T09:42:05Z  WARN axon_core::raft: a=b is not said twice'
		);
		expect(message).toBe('a=b is not said twice');
		expect(fields).toEqual([]);
	});

	it('reads objects of JSON', () => {
		expect(
			readLine(
				'{"timestamp":"2026-11-23T09:42:05Z","level":"INFO","fields":{"message":"votes","term":3,"peers":["a"]},"target":"axon_core","span":{"name":"run"}}'
			)
		).toEqual({
			target: 'axon_core',
			message: 'votes',
			fields: [
				['term', '3'],
				['peers', '["a"]'],
				['span', '{"name":"run"}']
			]
		});
	});

	it('leaves anything else as it is', () => {
		for (const text of [
			'',
			'  at src/main.rs:7',
			'{',
			'{"a":1}',
			"thread 'main' panicked at x: y"
		]) {
			expect(readLine(text)).toEqual({ target: null, message: text, fields: [] });
		}
	});
});

describe('highlight', () => {
	it('marks every hit, whatever the case', () => {
		expect(highlight('Node1 and node2', 'NODE')).toEqual([
			{ text: 'Node', hit: true },
			{ text: '1 and ', hit: false },
			{ text: 'node', hit: true },
			{ text: '2', hit: false }
		]);
	});

	it('marks nothing without a search, or where places cannot be trusted', () => {
		expect(highlight('abc', '')).toEqual([{ text: 'abc', hit: false }]);
		expect(highlight('İnode', 'node')).toEqual([{ text: 'İnode', hit: false }]);
	});
});

it('shows the time of a line to the millisecond', () => {
	expect(lineTime(new Date(2026, 0, 2, 3, 4, 5, 6).getTime())).toBe('03:04:05.006');
});
