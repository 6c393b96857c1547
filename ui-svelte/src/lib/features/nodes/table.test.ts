import { describe, expect, it } from 'vitest';
import { COLUMNS, filtered, nextSort, sorted, uptime, type ColumnId } from './table';
import { aNode } from './testing';

const nodes = [
	aNode({ id: 'node10', lag: 3, cpu: 0.5, role: 'follower' }),
	aNode({ id: 'node2', lag: null, cpu: null, role: null, state: 'crashed', trouble: 'port taken' }),
	aNode({ id: 'node1', lag: 0, cpu: 0.1, role: 'leader' }),
	aNode({ id: 'node3', lag: 8_214, cpu: 0.1, role: 'learner', membership: 'learner' })
];

const order = (column: ColumnId, descending = false) =>
	sorted(nodes, { column, descending }, 5_000).map((node) => node.id);

describe('the order', () => {
	it('of names is by their numbers', () => {
		expect(order('node')).toEqual(['node1', 'node2', 'node3', 'node10']);
		expect(order('node', true)).toEqual(['node10', 'node3', 'node2', 'node1']);
	});

	it('puts what is unknown last, either way', () => {
		expect(order('lag')).toEqual(['node1', 'node10', 'node3', 'node2']);
		expect(order('lag', true)).toEqual(['node3', 'node10', 'node1', 'node2']);
	});

	it('of equals is by their names, either way', () => {
		expect(order('cpu')).toEqual(['node1', 'node3', 'node10', 'node2']);
		expect(order('cpu', true)).toEqual(['node10', 'node1', 'node3', 'node2']);
	});

	it('of states begins with what needs a look, of roles with the leader', () => {
		expect(order('state')[0]).toBe('node2');
		expect(order('role')).toEqual(['node1', 'node10', 'node3', 'node2']);
	});

	it('is turned around by the second press, and begins with the greatest figure', () => {
		const column = (id: ColumnId) => COLUMNS.find((found) => found.id === id) ?? COLUMNS[0];
		const byName = { column: 'node', descending: false } as const;
		const lag = column('lag');
		const name = column('node');
		if (!lag || !name) throw new Error('there are such columns');
		expect(nextSort(byName, lag)).toEqual({ column: 'lag', descending: true });
		expect(nextSort(byName, name)).toEqual({ column: 'node', descending: true });
	});
});

describe('the filter', () => {
	const names = (search: string, state: Parameters<typeof filtered>[2] = 'all') =>
		filtered(nodes, search, state).map((node) => node.id);

	it('goes by state', () => {
		expect(names('', 'crashed')).toEqual(['node2']);
		expect(names('', 'stopped')).toEqual([]);
	});

	it('finds every word, anywhere in what a node says', () => {
		expect(names('LEARNER node')).toEqual(['node3']);
		expect(names('taken')).toEqual(['node2']);
		expect(names('  ')).toHaveLength(4);
	});
});

it('knows no uptime of what does not run', () => {
	expect(uptime(aNode({ started: 1_000 }), 5_000)).toBe(4_000);
	expect(uptime(aNode({ pid: null }), 5_000)).toBeNull();
});
