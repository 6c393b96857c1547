// What happened, and who asked for it: story 20.

import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import type { Event } from '../../src/lib/api/types';
import { expect, test, until, type Cluster } from './fixtures';

const rows = (page: Page) => page.getByRole('list', { name: /^Events/ }).getByRole('listitem');

async function list(cluster: Cluster, query = ''): Promise<Event[]> {
	const { events } = await cluster.json<{ events: Event[] }>('GET', `/api/v1/events?${query}`);
	return events;
}

/** Asks for something under a name, and waits for its end. */
async function ask(cluster: Cluster, actor: string, path: string): Promise<void> {
	const answer = await cluster.send('POST', `${path}?wait=true`, undefined, {
		'x-axon-actor': actor
	});
	expect(answer.status, await answer.text()).toBeLessThan(300);
}

test('20 who asked for what is listed, filtered, kept in the address and exported', async ({
	page,
	cluster
}) => {
	await ask(cluster, 'ada', '/api/v1/nodes/node2/actions/restart');
	await page.goto('/events');
	await expect(rows(page).filter({ hasText: 'ada asked to restart node2' })).toBeVisible();

	await page.getByRole('button', { name: 'All kinds' }).click();
	await page.getByRole('checkbox', { name: 'Restart requested' }).check();
	await page.getByRole('checkbox', { name: 'Started', exact: true }).check();
	await page.keyboard.press('Escape');
	await page.getByLabel('Node', { exact: true }).selectOption('node2');
	const query = 'kind=restart,started&node=node2';
	const wanted = await list(cluster, query);
	expect(wanted.length).toBeGreaterThan(1);
	await expect(rows(page)).toHaveCount(wanted.length);
	expect(new URL(page.url()).searchParams.get('kind')).toBe('restart,started');

	await page.reload();
	await expect(rows(page)).toHaveCount(wanted.length);
	await expect(page.getByRole('button', { name: '2 kinds' })).toBeVisible();

	const download = page.waitForEvent('download');
	await page.getByRole('button', { name: 'Export JSONL' }).click();
	const file = await (await download).path();
	const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
	expect(lines.map((line) => JSON.parse(line) as Event)).toEqual(wanted);

	await page.getByRole('searchbox').fill('ASKED');
	await expect(rows(page)).toHaveCount(wanted.filter(({ text }) => /asked/i.test(text)).length);
	await page.getByRole('searchbox').fill('nothing is like this');
	await expect(page.getByText('No events like this')).toBeVisible();
	await page.getByRole('button', { name: 'Clear', exact: true }).click();
	await expect(rows(page).first()).toBeVisible();
	expect(new URL(page.url()).search).toBe('');

	await page.getByLabel('Severity').selectOption('error');
	await expect(page).toHaveURL(/severity=error/);
	const errors = (await list(cluster, 'severity=error')).length;
	await (errors === 0
		? expect(page.getByText('No events like this')).toBeVisible()
		: expect(rows(page)).toHaveCount(errors));
});

test('new events come in at the top, or wait while one reads further down', async ({
	page,
	cluster
}) => {
	for (let round = 0; (await list(cluster)).length < 15 && round < 5; round++) {
		await cluster.act(await cluster.follower(), 'restart');
	}
	await page.setViewportSize({ width: 1280, height: 600 });
	await page.goto('/events');
	await expect(rows(page).first()).toBeVisible();
	await ask(cluster, 'grace', '/api/v1/nodes/node2/actions/restart');
	await expect(rows(page).filter({ hasText: 'grace asked to restart node2' })).toBeInViewport();

	await rows(page).first().hover();
	await page.mouse.wheel(0, 200);
	const pill = page.getByRole('button', { name: /^\d+ new$/ });
	await ask(cluster, 'linus', '/api/v1/nodes/node3/actions/restart');
	await expect(pill).toBeVisible();
	await expect(rows(page).filter({ hasText: 'linus' })).toHaveCount(0);
	await pill.click();
	await expect(rows(page).filter({ hasText: 'linus asked to restart node3' })).toBeInViewport();
	await expect(pill).toBeHidden();
});

test('an event says everything that is known of it, and can be linked to', async ({
	page,
	cluster,
	checks
}) => {
	const name = await cluster.follower();
	await cluster.kill(name);
	const crash = await until('the crash is an event', async () =>
		(await list(cluster, 'kind=crashed')).find(({ node }) => node === name)
	);
	await page.goto('/events');
	await rows(page)
		.filter({ hasText: `${name}: was killed` })
		.click();
	const details = page.getByRole('dialog', { name: `Event ${crash.id}` });
	await expect(details).toContainText('Crashed');
	await expect(details).toContainText('was killed (signal 9)');
	const last = crash.exit?.lines.at(-1) ?? '';
	expect(last).not.toBe('');
	await expect(details.getByRole('region', { name: 'The last lines of its log' })).toContainText(
		last
	);
	await expect(details.getByRole('link', { name })).toHaveAttribute('href', `/nodes/${name}`);
	await page.keyboard.press('Escape');
	await expect(details).toBeHidden();

	await page.goto(`/events?event=${crash.id}`);
	await expect(details).toContainText('was killed (signal 9)');
	await page.goto('/events?event=987654321');
	await expect(page.getByText('There is no event 987654321')).toBeVisible();
	await cluster.ready(3);
	expect(checks.found()).toEqual([]);
});

test('the operation that an event names is one click away', async ({ page, cluster }) => {
	const operation = await cluster.act('node2', 'restart');
	await page.goto('/events?kind=restart');
	await rows(page)
		.filter({ hasText: `(operation ${operation.id})` })
		.first()
		.click();
	await page.getByRole('link', { name: `Operation ${operation.id}`, exact: true }).click();
	await expect(page.getByRole('heading', { level: 1 })).toHaveText('Restart node2');
});

test('by keyboard: down the list, open, and back', async ({ page, cluster }) => {
	const [newest, second] = await list(cluster);
	await page.goto('/events');
	await expect(rows(page).first()).toBeVisible();
	await page.keyboard.press('j');
	await page.keyboard.press('j');
	await page.keyboard.press('Enter');
	await expect(page.getByRole('dialog', { name: `Event ${second?.id}` })).toBeVisible();
	await page.keyboard.press('Escape');
	await page.keyboard.press('k');
	await page.keyboard.press('Enter');
	await expect(page.getByRole('dialog', { name: `Event ${newest?.id}` })).toBeVisible();
});

test("a node's tab has the events of that node only", async ({ page, cluster }) => {
	await page.goto('/nodes/node1/events?kind=started');
	const own = await list(cluster, 'kind=started&node=node1');
	const all = await list(cluster, 'kind=started');
	expect(all.length).toBeGreaterThan(own.length);
	await expect(rows(page)).toHaveCount(own.length);
	await expect(rows(page).filter({ hasText: 'node1 was started' })).toHaveCount(own.length);
	await expect(page.getByLabel('Node', { exact: true })).toHaveCount(0);
});

test('on a phone the filters are on a sheet @phone', async ({ page }) => {
	await page.goto('/events');
	await page.getByRole('button', { name: 'Filters' }).click();
	const sheet = page.getByRole('dialog', { name: 'Filters' });
	await sheet.getByLabel('Severity').selectOption('error');
	await sheet.getByRole('button', { name: 'Show events' }).click();
	await expect(page).toHaveURL(/severity=error/);
	await expect(page.getByRole('button', { name: 'Filters (1)' })).toBeVisible();
});
