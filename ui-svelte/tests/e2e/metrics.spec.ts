// Story 17: the charts move with the load, their figures are the API's, and range and pause work.

import type { Page } from '@playwright/test';
import { expect, test, until, type Cluster } from './fixtures';

const chart = (page: Page, title: string) =>
	page.getByRole('figure').filter({ has: page.getByRole('heading', { name: title, exact: true }) });
const legend = (page: Page, title: string, line: string) =>
	chart(page, title).locator(`[data-line="${line}"]`);

const range = (page: Page, name: string) => page.getByRole('radio', { name, exact: true });

async function shown(page: Page, title: string, line: string): Promise<number> {
	const text = (await legend(page, title, line).textContent()) ?? '';
	return Number(text.replaceAll(',', ''));
}

/** Writes that the nodes have counted, by their own metrics. */
async function counted(cluster: Cluster): Promise<number> {
	let sum = 0;
	for (const { address } of await cluster.nodes()) {
		const page = await (await fetch(`http://${address}/metrics`)).text();
		for (const line of page.split('\n')) {
			if (!line.startsWith('axon_http_requests_total{')) continue;
			if (line.includes('method="PUT"') && /status="20\d"/.test(line)) {
				sum += Number(line.slice(line.lastIndexOf(' ') + 1));
			}
		}
	}
	return sum;
}

test('17 under a load the charts say what the API says', async ({ page, cluster }) => {
	await page.goto('/metrics');
	await expect(chart(page, 'Throughput')).toBeVisible();
	const load = cluster.load({ prefix: 'metrics/', perSecond: 40 });
	await expect.poll(() => shown(page, 'Throughput', 'writes')).toBeGreaterThan(10);

	// The mean over some seconds, of the page and of the nodes' own counters.
	await page.getByRole('button', { name: 'Show as table: Throughput' }).click();
	await range(page, '1m').check();
	const from = { at: Date.now(), writes: await counted(cluster) };
	await until('12 s of load', () => Date.now() - from.at > 12_000);
	const to = { at: Date.now(), writes: await counted(cluster) };
	const rate = ((to.writes - from.writes) / (to.at - from.at)) * 1_000;
	const seconds = await page
		.getByRole('region', { name: 'Throughput, as a table' })
		.locator('tbody tr')
		.evaluateAll((rows) =>
			rows.map((row) => ({
				t: Number((row as HTMLElement).dataset.t),
				writes: Number(row.querySelector('td:last-child')?.textContent?.replaceAll(',', ''))
			}))
		);
	await load.stop();
	const within = seconds.filter(({ t }) => t > from.at + 1_000 && t <= to.at);
	expect(within.length).toBeGreaterThan(3);
	const mean = within.reduce((sum, { writes }) => sum + writes, 0) / within.length;
	expect(Math.abs(mean - rate) / rate).toBeLessThan(0.1);

	await page.getByRole('button', { name: 'Show as chart: Throughput' }).click();
	await expect(legend(page, 'Write latency', 'p99')).toBeVisible();
	await expect.poll(() => shown(page, 'Throughput', 'writes')).toBeLessThan(5);
});

test('17 the range is the same everywhere, by mouse and by keys, and is kept', async ({ page }) => {
	await page.goto('/metrics');
	await range(page, '1m').check();
	await expect(chart(page, 'Throughput')).toContainText('last minute');
	await page.keyboard.press('Escape');
	await page.locator('h1').focus();
	await page.keyboard.press(']');
	await expect(range(page, '5m')).toBeChecked();
	await expect(chart(page, 'CPU')).toContainText('last 5 minutes');
	await page.reload();
	await expect(range(page, '5m')).toBeChecked();
	await page.getByRole('link', { name: 'Overview' }).first().click();
	await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
	await expect(range(page, '5m')).toBeChecked();
});

test('17 paused, nothing is painted; afterwards nothing is missing', async ({ page, cluster }) => {
	await page.goto('/metrics');
	await expect(chart(page, 'Throughput')).toBeVisible();
	await expect.poll(() => shown(page, 'Throughput', 'writes')).toBeLessThan(5);
	await page.getByRole('button', { name: 'Pause' }).click();
	const summary = chart(page, 'Throughput').getByText('Throughput, last');
	const before = await summary.textContent();
	const load = cluster.load({ prefix: 'paused/', perSecond: 40 });
	await expect(page.getByText(/Paused, [4-9] s behind/).first()).toBeVisible();
	expect(await summary.textContent()).toBe(before);
	await page.getByRole('button', { name: 'Resume' }).click();
	await expect.poll(() => shown(page, 'Throughput', 'writes')).toBeGreaterThan(10);
	await load.stop();
	await page.getByRole('button', { name: 'Show as table: Throughput' }).click();
	await range(page, '1m').check();
	const cells = page
		.getByRole('region', { name: 'Throughput, as a table' })
		.locator('tbody tr:nth-child(-n+8) td:last-child');
	await expect(cells).toHaveCount(8);
	for (const text of await cells.allTextContents()) expect(text).not.toBe('unknown');
});

test('the charts are of each node, or of all', async ({ page, cluster }) => {
	await page.goto('/metrics');
	for (const { id } of await cluster.nodes()) {
		await expect(legend(page, 'Memory', id)).toHaveText(/MB/);
	}
	await page.getByText('All nodes', { exact: true }).click();
	await expect(legend(page, 'Memory', 'all nodes')).toHaveText(/MB/);
	await page.reload();
	await expect(page.getByRole('radio', { name: 'All nodes' })).toBeChecked();
});

test('every node’s own metrics are one click away', async ({ page, cluster }) => {
	await page.goto('/metrics');
	const links = page.getByRole('region', { name: 'Prometheus' }).getByRole('link');
	await expect(links).toHaveCount(3);
	for (const { id, address } of await cluster.nodes()) {
		await expect(links.filter({ hasText: id })).toHaveAttribute(
			'href',
			`http://${address}/metrics`
		);
	}
	const answer = await fetch((await links.first().getAttribute('href')) ?? '');
	expect(await answer.text()).toContain('axon_http_requests_total');
});
