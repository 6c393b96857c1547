// The page is live, and honest when it is not: stories 1, 3, 4, 5, 18, 19, 26 and 30.

import { expect, test } from './fixtures';

test('26 a page of another site cannot act on a node', async ({ cluster }) => {
	const headers = { origin: 'http://evil.example' };
	const answer = await cluster.send('POST', '/api/v1/nodes/node1/actions/stop', undefined, headers);
	expect(answer.status).toBe(403);
	expect((await answer.json()).code).toBe('forbidden');
	expect((await cluster.node('node1')).desired_running).toBe(true);
});

test('1 opens', async ({ page, cluster }) => {
	await page.goto('/');
	await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
	expect((await cluster.nodes()).length).toBe(3);
});
