// The feed of changes: story 15.

import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';

const state = (page: Page) => page.getByTestId('feed-state');
const rows = (page: Page) => page.getByTestId('rows');
const shown = (page: Page) =>
	page.getByRole('list', { name: 'Changes, newest last' }).getByRole('listitem');

test('15 changes appear in order, also those that came while it was paused', async ({
	page,
	cluster
}) => {
	const name = (n: number) => `story15/${String(n).padStart(3, '0')}`;
	await page.goto('/data/watch?prefix=story15%2F');
	await expect(state(page)).toHaveText('Live');
	for (let n = 0; n < 50; n += 1) await cluster.put(name(n), `value ${n}`);
	await cluster.put('elsewhere/15', 'not of this prefix');
	await expect(rows(page)).toHaveText('50 rows');

	await page.keyboard.press('p');
	await expect(page.getByRole('button', { name: 'Resume' })).toBeVisible();
	for (let n = 50; n < 100; n += 1) await cluster.put(name(n), `value ${n}`);
	await expect(state(page)).toHaveText('Paused, 50 new');
	await expect(rows(page)).toHaveText('50 rows');
	await page.getByRole('button', { name: 'Resume' }).click();
	await expect(rows(page)).toHaveText('100 rows');
	await expect(shown(page).last()).toContainText('099');

	// All of them, in the order of the writes.
	const seen: string[] = [];
	const list = page.getByRole('list', { name: 'Changes, newest last' });
	for (let n = 0; n < 100; n += 10) {
		await list.evaluate((element, at) => element.scrollTo(0, at * 36), n);
		const at = shown(page)
			.filter({ hasText: name(n).slice(-3) })
			.first();
		await expect(at).toBeVisible();
		const texts = await shown(page).allInnerTexts();
		for (const text of texts) {
			const found = /story15\/\s*(\d{3})/.exec(text)?.[1];
			if (found !== undefined && !seen.includes(found)) seen.push(found);
		}
	}
	expect(seen).toEqual(Array.from({ length: 100 }, (_, n) => String(n).padStart(3, '0')));

	await cluster.json('DELETE', '/api/v1/kv/story15%2F099');
	await expect(rows(page)).toHaveText('101 rows');
	await page.getByRole('searchbox', { name: 'Filter these rows' }).fill('/099');
	await expect(rows(page)).toHaveText('2 of 101 rows');
	await expect(shown(page).last()).toContainText('Deleted');
	await shown(page).first().getByRole('link').click();
	await expect(page).toHaveURL(/\/data\?key=story15%2F099/);
});

test('15 what happened since a revision is told, and a past that is gone is said', async ({
	page,
	cluster,
	checks
}) => {
	const put = await cluster.json<{ revision: number }>('PUT', '/api/v1/kv/since%2Fa', 1);
	await cluster.put('since/b', 'two');
	await page.goto(`/data/watch?prefix=since%2F&from=${put.revision}`);
	await expect(rows(page)).toHaveText('2 rows');
	checks.expectStatus(400, /^\/api\/v1\/watch/);
	await page.getByLabel('From revision').fill('99999999');
	await page.getByRole('button', { name: 'Watch', exact: true }).click();
	await expect(page.getByRole('alert')).toContainText('The watch has ended');
	await page.getByRole('button', { name: 'Watch from now on' }).click();
	await expect(state(page)).toHaveText('Live');
	await cluster.put('since/c', 'three');
	await expect(rows(page)).toHaveText('1 row');
});

test('15 no more rows are kept than are said', async ({ page, cluster }) => {
	test.setTimeout(90_000);
	await page.goto('/data/watch?prefix=flood%2F');
	await expect(state(page)).toHaveText('Live');
	for (let batch = 0; batch < 45; batch += 1) {
		const success = Array.from({ length: 128 }, (_, n) => ({
			put: { key: `flood/${batch * 128 + n}`, value: 'x' }
		}));
		await cluster.json('POST', '/api/v1/txn', { success });
	}
	await expect(rows(page)).toHaveText('5,000 rows');
	await expect(page.getByText('760 older rows dropped')).toBeVisible();
	expect(await shown(page).count()).toBeLessThan(80);
});

test.describe('15 after a break', () => {
	test.use({ clusterOptions: { own: true } });
	test('it goes on where it was, and misses nothing', async ({ page, cluster, checks }) => {
		test.setTimeout(120_000);
		checks.expectAway();
		checks.expectStatus(503, /^\/api\/v1\//);
		await page.goto('/data/watch?prefix=break%2F');
		await expect(state(page)).toHaveText('Live');
		await cluster.put('break/1', 'x');
		await expect(rows(page)).toHaveText('1 row');
		const port = new URL((await cluster.nodes()).map((node) => `http://${node.address}`)[0] ?? '');
		await cluster.stopLauncher('SIGKILL');
		await expect(state(page)).toContainText('Reconnecting');
		// Behind the launcher's back, while it is away.
		for (const n of [2, 3]) {
			await fetch(new URL(`/v1/kv/break%2F${n}`, port), { method: 'PUT', body: 'x' });
		}
		await cluster.startLauncher();
		await expect(state(page)).toHaveText('Live', { timeout: 30_000 });
		await expect(rows(page)).toHaveText('3 rows');
		await expect(shown(page).last()).toContainText('3');
	});
});
