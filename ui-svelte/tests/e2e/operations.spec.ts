// Operations: their steps as they go, cancelling one, and links to those that are no more.

import type { Operation } from '../../src/lib/api/types';
import { expect, test, until, type Cluster } from './fixtures';

/** Begins to start a node that cannot get ready, since no other one answers it. */
async function endless(cluster: Cluster): Promise<Operation> {
	await cluster.act('node2', 'stop');
	await cluster.freeze('node1');
	await cluster.freeze('node3');
	await until('nobody answers', async () => {
		const others = (await cluster.nodes()).filter(({ id }) => id !== 'node2');
		return others.every(({ state }) => state === 'unhealthy');
	});
	const begun = await cluster.json<Operation>('POST', '/api/v1/nodes/node2/actions/start');
	return until('it waits', async () => {
		const path = `/api/v1/operations/${begun.id}`;
		const operation = await cluster.json<Operation>('GET', path);
		return operation.steps.at(-1)?.state === 'running' ? operation : null;
	});
}

async function thaw(cluster: Cluster): Promise<void> {
	await cluster.thaw('node1');
	await cluster.thaw('node3');
	await cluster.ready(3);
}

test('what was done is listed, with its steps, actor and events', async ({ page, cluster }) => {
	const operation = await cluster.act('node3', 'restart');
	await page.goto('/operations');
	const link = page.getByRole('main').getByRole('link', { name: 'Restart node3' }).first();
	await expect(link).toContainText('Done');
	await link.click();
	await expect(page).toHaveURL(`/operations/${operation.id}`);
	await expect(page.getByRole('heading', { level: 1 })).toHaveText('Restart node3');
	const steps = page.getByRole('list', { name: 'Steps' }).getByRole('listitem');
	await expect(steps).toHaveCount(operation.steps.length);
	for (const [index, { name }] of operation.steps.entries()) {
		await expect(steps.nth(index)).toContainText(new RegExp(name, 'i'));
		await expect(steps.nth(index)).toContainText('Done');
	}
	await expect(page.getByText('A caller of the API asked to restart node3')).toBeVisible();
	await expect(page.getByRole('button', { name: 'Cancel operation' })).toHaveCount(0);
});

test('one that only waits is cancelled, after a question', async ({ page, cluster }) => {
	const operation = await endless(cluster);
	await page.goto(`/operations/${operation.id}`);
	await expect(page.getByRole('heading', { level: 1 })).toHaveText('Start node2');
	const waits = page.getByRole('listitem').filter({ hasText: 'Wait until node2 is ready' });
	await expect(waits).toHaveAttribute('aria-current', 'step');
	await page.getByRole('button', { name: 'Cancel operation' }).click();
	const dialog = page.getByRole('dialog', { name: 'Cancel this operation?' });
	await dialog.getByRole('button', { name: 'Let it go on' }).click();
	await expect(dialog).toBeHidden();
	await expect(waits).toHaveAttribute('aria-current', 'step');

	await page.getByRole('button', { name: 'Cancel operation' }).click();
	await dialog.getByRole('button', { name: 'Cancel operation' }).click();
	await expect(waits).toContainText('Cancelled');
	await expect(page.getByRole('button', { name: 'Cancel operation' })).toHaveCount(0);
	const after = await cluster.json<Operation>('GET', `/api/v1/operations/${operation.id}`);
	expect(after.state).toBe('cancelled');
	await expect(page.getByText('The dashboard asked to cancel operation')).toBeVisible();
	await thaw(cluster);
});

test('after a restart of the launcher a link to an operation leads somewhere', async ({
	page,
	cluster,
	checks
}) => {
	checks.expectAway();
	checks.expectStatus(404, /^\/api\/v1\/operations\/\d+$/);
	const operation = await endless(cluster);
	await page.goto(`/operations/${operation.id}`);
	await expect(page.getByRole('heading', { level: 1 })).toHaveText('Start node2');

	await cluster.stopLauncher('SIGKILL');
	await cluster.startLauncher();
	// Who has it open keeps what was seen.
	await expect(page.getByText('The launcher was started anew')).toBeVisible({ timeout: 20_000 });
	await expect(page.getByText('Outcome unknown')).toBeVisible();
	await expect(page.getByRole('list', { name: 'Steps' })).toBeVisible();

	// Who comes by a link is told why there is nothing.
	await page.goto(`/operations/${operation.id}`);
	await expect(page.getByText(`There is no operation ${operation.id}`)).toBeVisible();
	await page.getByRole('link', { name: 'Events that name it' }).click();
	await expect(page.getByRole('list', { name: 'Events' })).toContainText('asked to start node2');
	await thaw(cluster);
});

test('what is no number of an operation is not asked for', async ({ page }) => {
	await page.goto('/operations/frobnicate');
	await expect(page.getByText('There is no operation frobnicate')).toBeVisible();
	await page.getByRole('main').getByRole('link', { name: 'All operations' }).click();
	await expect(page.getByRole('heading', { level: 1 })).toHaveText('Operations');
});
