import { expect, it } from 'vitest';
import { aNode } from './testing';
import { troubleOf } from './trouble';

const exit = {
	code: 1,
	text: 'could not start (code 1)',
	at: 1_000,
	lines: ['port 9000 is taken']
};

it('is nothing for a node that does what it should', () => {
	expect(troubleOf(aNode(), 5_000)).toBeNull();
	expect(troubleOf(aNode({ exit }), 5_000), 'what once ended').toBeNull();
	expect(troubleOf(aNode({ state: 'stopped', pid: null }), 5_000)).toBeNull();
});

it('tells a process that is silent from one that has ended', () => {
	const silent = aNode({ state: 'unhealthy', role: null, pid: 4711 });
	expect(troubleOf(silent, 5_000)).toMatchObject({
		tone: 'crit',
		text: 'Process is running but not answering (process 4711)',
		lines: []
	});
	const crashed = aNode({
		state: 'crashed',
		pid: null,
		role: null,
		exit,
		failures: 3,
		next_start: 7_000,
		trouble: 'could not start (code 1): port 9000 is taken'
	});
	expect(troubleOf(crashed, 5_000)).toEqual({
		tone: 'crit',
		text: 'Process exited (code 1): port 9000 is taken',
		next: 'It starts again in 2 s, ended 3 times in a row',
		lines: ['port 9000 is taken']
	});
});

it('says of a kill what killed it, and when nothing starts it again', () => {
	const killed = { code: null, text: 'was killed (signal 9)', at: 1_000, lines: [] };
	const node = aNode({
		state: 'crashed',
		pid: null,
		role: null,
		exit: killed,
		failures: 1,
		trouble: killed.text
	});
	expect(troubleOf(node, 5_000)).toMatchObject({
		text: 'Process was killed (signal 9)',
		next: 'It stays down until somebody starts it'
	});
});

it('knows a node that answers and cannot serve', () => {
	const node = aNode({ state: 'unhealthy', ready: false, role: 'follower' });
	expect(troubleOf(node, 5_000)).toMatchObject({
		tone: 'warn',
		text: 'It answers, and cannot serve'
	});
});
