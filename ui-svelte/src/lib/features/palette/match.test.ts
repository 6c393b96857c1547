import { expect, it } from 'vitest';
import { matches } from './match';

it.each([
	['restart 2', 'Restart · node2', true],
	['node2 rest', 'Restart · node2', true],
	['NODE', 'node1 leader · 127.0.0.1:9000', true],
	['9000', 'node1 leader · 127.0.0.1:9000', true],
	['stop', 'Restart · node2', false],
	['', 'anything', true]
])('%j in %j: %s', (query, text, found) => expect(matches(query, text)).toBe(found));
