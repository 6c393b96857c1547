// What the Overview says of the cluster's states, in words and pictures: the page's side of stories
// 1, 3, 4 and 5.

import type { Page } from '@playwright/test';
import type { Event } from '../../src/lib/api/types';
import { expect, test, until } from './fixtures';

const health = (page: Page) => page.getByTestId('health');
const ring = (page: Page) => page.getByRole('region', { name: 'Consensus' });
const inRing = (page: Page, node: string) => ring(page).locator(`g[data-node="${node}"]`);
const row = (page: Page, node: string) => page.locator(`tbody[data-node="${node}"]`);
const timeline = (page: Page) => page.getByRole('region', { name: 'Leadership' });

test('1 shows a healthy cluster as the API has it', async ({ page, cluster }) => {
	await page.goto('/');
	const leader = await cluster.leader();
	await expect(health(page)).toContainText('Healthy');
	await expect(health(page)).toContainText('3 of 3 voters online');
	await expect(ring(page).locator('g[data-look="leader"]')).toHaveCount(1);
	await expect(inRing(page, leader)).toHaveAttribute('data-look', 'leader');
	await expect(
		ring(page).getByRole('img', { name: new RegExp(`^${leader} leads\\.`) })
	).toBeVisible();
	await expect(page.getByTestId('online')).toHaveText('3/3');
	await expect(page.getByTestId('term')).toHaveText(`Term ${(await cluster.shape()).term}`);
	await expect(row(page, leader)).toContainText('Leader');
	await expect(page.locator('tbody[data-node]')).toHaveCount(3);
	for (const { id } of await cluster.nodes()) {
		await expect(row(page, id).getByRole('img', { name: `Log of ${id} reaches` })).toBeVisible();
	}
	await expect(timeline(page).locator(`[data-node="${leader}"] [data-term]`).last()).toBeVisible();
});

test('counts the keys, and says when it did', async ({ page, cluster }) => {
	const prefix = `counted-${Date.now()}/`;
	for (let i = 0; i < 5; i++) await cluster.put(`${prefix}${i}`, 'x');
	const { count } = await cluster.json<{ count: number }>('GET', '/api/v1/kv?count_only=true');
	await page.goto('/');
	const keys = page.getByRole('region', { name: 'Keys' });
	await expect(keys).toContainText(count.toLocaleString('en'));
	await expect(keys).toContainText(/counted (now|\d+ s ago)/);
});

test('a chart is there as a table, too', async ({ page }) => {
	await page.goto('/');
	await page.getByRole('button', { name: 'Show as table: Throughput' }).click();
	const table = page.getByRole('region', { name: 'Throughput, as a table' });
	await expect(table.getByRole('columnheader', { name: 'writes, a second' })).toBeVisible();
	await expect(table.getByRole('row').nth(1)).toBeVisible();
	await page.getByRole('button', { name: 'Show as chart: Throughput' }).click();
	await expect(table).toHaveCount(0);
});

test('opens the dialog for adding a node', async ({ page }) => {
	await page.goto('/');
	await expect(health(page)).toContainText('Healthy');
	await page.getByRole('button', { name: 'Add node' }).click();
	await expect(page.getByRole('dialog', { name: 'Add node' })).toBeVisible();
});

test('shows the last events, and where the others are', async ({ page, cluster }) => {
	await page.goto('/');
	const events = page.getByRole('region', { name: 'Events' });
	await expect(events.getByRole('listitem')).toHaveCount(5);
	const { events: newest } = await cluster.json<{ events: Event[] }>(
		'GET',
		'/api/v1/events?limit=1'
	);
	await expect(events.getByRole('listitem').first()).toContainText(newest[0]?.text ?? '');
	await events.getByRole('link', { name: 'All events' }).click();
	await expect(page).toHaveURL(/\/events$/);
});

test.describe('breaking it', () => {
	test.use({ clusterOptions: { own: true } });

	test('3 a follower that does not answer: degraded, and told apart from one that ended', async ({
		page,
		cluster
	}) => {
		await page.goto('/');
		await expect(health(page)).toContainText('Healthy');
		const follower = await cluster.follower();
		await cluster.freeze(follower);
		await expect(row(page, follower)).toContainText('Unreachable', { timeout: 6_000 });
		await expect(inRing(page, follower)).toHaveAttribute('data-look', 'down');
		await expect(health(page)).toContainText('Degraded');
		await expect(health(page)).toContainText('survives no further failure');
		await expect(page.getByTestId('online')).toHaveText('2/3');
		await cluster.thaw(follower);
		await expect(health(page)).toContainText('Healthy', { timeout: 20_000 });
		await expect(inRing(page, follower)).toHaveAttribute('data-look', 'voter');
	});

	test('4 a leader that is killed: a new one, a higher term, and the time without one', async ({
		page,
		cluster,
		checks
	}) => {
		// The page counts keys, and whoever was asked is gone.
		checks.expectStatus(503, /^\/api\/v1\/kv$/);
		await page.goto('/');
		await expect(health(page)).toContainText('Healthy');
		const [old, { term: before }] = [await cluster.leader(), await cluster.shape()];
		await cluster.kill(old);
		const { leader, term } = await until('another term', async () => {
			const shape = await cluster.shape();
			return shape.leader !== null && (shape.term ?? 0) > (before ?? 0) && shape;
		});
		await expect(page.getByTestId('term')).toHaveText(`Term ${term}`);
		await expect(inRing(page, leader ?? '')).toHaveAttribute('data-look', 'leader');
		await expect(
			timeline(page).locator(`[data-node="${leader}"] [data-term="${term}"]`)
		).toBeVisible();
		await expect(page.getByTestId('leadership-sum')).toContainText(/ without a leader/);
		await expect(timeline(page)).toContainText(/No leader for [\d.]+ m?s until/);
	});

	test('5 a lost quorum: no leader in the picture, since when, and what still works', async ({
		page,
		cluster
	}) => {
		await cluster.put('kept', 'x');
		await page.goto('/');
		await expect(health(page)).toContainText('Healthy');
		const leader = await cluster.leader();
		const others = (await cluster.nodes()).map((node) => node.id).filter((id) => id !== leader);
		for (const name of others) await cluster.act(name, 'stop');

		await expect(health(page)).toContainText('No quorum', { timeout: 20_000 });
		await expect(health(page)).toContainText(/No leader for \d/);
		await expect(ring(page).getByText('No leader', { exact: true })).toBeVisible();
		await expect(ring(page).locator('g[data-look="leader"]')).toHaveCount(0);
		await expect(ring(page).locator('g[data-look="stopped"]')).toHaveCount(2);
		await expect(ring(page)).toContainText(/Max lag\s*unknown/);
		await expect(page.getByTestId('online')).toHaveText('1/3');
		await expect(page.getByTestId('leadership-sum')).toContainText('no leader');
		await expect(page.getByRole('region', { name: 'Reads' })).toContainText(
			'Only local reads are served'
		);
		for (const name of others) await cluster.act(name, 'start');
		await expect(health(page)).toContainText('Healthy', { timeout: 30_000 });
		await expect(ring(page).locator('g[data-look="leader"]')).toHaveCount(1);
	});
});

for (const width of [320, 390]) {
	test(`nothing scrolls sideways at ${width} px`, async ({ page, cluster }) => {
		await page.setViewportSize({ width, height: 844 });
		for (const path of ['/', '/metrics']) {
			await page.goto(path);
			await expect(page.getByText(await cluster.leader()).first()).toBeAttached();
			await expect(page.getByRole('figure').first()).toBeVisible();
			const beyond = await page.evaluate(
				() => document.documentElement.scrollWidth - document.documentElement.clientWidth
			);
			expect(beyond).toBeLessThanOrEqual(0);
		}
	});
}
