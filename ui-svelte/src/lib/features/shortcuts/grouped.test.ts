import { expect, it } from 'vitest';
import { grouped } from './grouped';

it('the page comes first, and keys that do the same share a line', () => {
	const run = () => undefined;
	const groups = grouped([
		{ keys: '?', label: 'Help', scope: 'Everywhere', run },
		{ keys: 'j', label: 'Next', scope: 'Nodes', run },
		{ keys: 'ArrowDown', label: 'Next', scope: 'Nodes', run }
	]);
	expect(groups).toEqual([
		{ scope: 'Nodes', list: [{ label: 'Next', keys: ['j', 'ArrowDown'] }] },
		{ scope: 'Everywhere', list: [{ label: 'Help', keys: ['?'] }] }
	]);
});
