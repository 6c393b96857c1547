// The page is live, and honest when it is not: stories 1, 3, 4, 5, 18, 19, 26 and 30.

import type { Page } from '@playwright/test';
import { cable } from './cable';
import { expect, test, until } from './fixtures';

/** A node's row in a table of nodes. */
function row(page: Page, name: string) {
	const link = page.getByRole('link', { name, exact: true });
	return page.getByRole('table').getByRole('row').filter({ has: link });
}

const health = (page: Page) => page.getByTestId('health');

/** What the connection mark says, wherever this size of screen has it. */
const connection = (page: Page) =>
	page
		.getByText(/^Connection:/)
		.locator('..')
		.filter({ visible: true });
const LIVE = 'Connection: Live';

/** Watches for what may be there for a moment only. The answer waits for it. */
async function glimpse(page: Page, selector: string, text: RegExp): Promise<() => Promise<void>> {
	const seen = await page.evaluateHandle(
		([selector, text]) => {
			const isThere = () =>
				[...document.querySelectorAll(selector)].some((found) =>
					new RegExp(text).test(found.textContent ?? '')
				);
			const promise = new Promise<void>((done) => {
				new MutationObserver((_, observer) => {
					if (!isThere()) return;
					observer.disconnect();
					done();
				}).observe(document, { subtree: true, childList: true, characterData: true });
			});
			return { promise };
		},
		[selector, text.source] as const
	);
	return () => seen.evaluate(({ promise }) => promise);
}

/** Waits until the page has what its other pages and dialogs are made of, which it fetches ahead. */
async function fetchedAhead(page: Page): Promise<void> {
	const files = () =>
		page.evaluate(() => {
			const names = performance.getEntriesByType('resource').map(({ name }) => name);
			return names.filter((name) => name.includes('/immutable/nodes/')).length;
		});
	await expect.poll(files).toBeGreaterThanOrEqual(14);
}

const newKey = (page: Page) => page.getByRole('dialog', { name: 'New key' });

/** Opens the dialog for a new key, and types one. */
async function typeKey(page: Page, key: string, value: string): Promise<void> {
	await page.getByRole('button', { name: 'New key' }).first().click();
	await newKey(page).getByLabel('Key', { exact: true }).fill(key);
	await newKey(page).locator('.cm-content').fill(value);
}

test('1 the Overview shows what the API says', async ({ page, cluster }) => {
	await page.goto('/');
	await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
	await expect(health(page)).toContainText('Healthy');
	await expect(connection(page)).toHaveText(LIVE);
	const leader = await cluster.leader();
	for (const { id } of await cluster.nodes()) {
		await expect(row(page, id)).toContainText(id === leader ? 'Leader' : 'Follower');
		await expect(row(page, id)).toContainText('Online');
	}
	await expect(page.getByRole('table').getByText('Leader', { exact: true })).toHaveCount(1);
});

test('18 a stream that breaks goes on where it was', async ({ page, cluster, checks }) => {
	checks.expectAway();
	const link = await cable(cluster.port);
	try {
		await page.goto(link.url);
		await expect(connection(page)).toHaveText(LIVE);
		const again = page.waitForRequest(/\/api\/v1\/stream$/);
		link.cut();
		await expect(connection(page)).toContainText('Reconnecting (1)');
		const next = await cluster.follower();
		await cluster.act(next, 'transfer');
		expect(await (await again).headerValue('last-event-id')).toMatch(/^\d+-\d+$/);
		await expect(connection(page)).toHaveText(LIVE);
		await expect(row(page, next)).toContainText('Leader');
	} finally {
		await link.end();
	}
});

test('19 eight tabs share one stream, and a ninth page still loads', async ({
	context,
	cluster
}) => {
	let streams = 0;
	context.on('request', (request) => {
		if (new URL(request.url()).pathname === '/api/v1/stream') streams += 1;
	});
	const tabs: Page[] = [];
	for (let tab = 0; tab < 8; tab++) {
		const page = await context.newPage();
		await page.goto('/nodes');
		await expect(connection(page)).toHaveText(LIVE);
		tabs.push(page);
	}
	const ninth = await context.newPage();
	await ninth.goto('/data');
	await expect(ninth.getByRole('heading', { level: 1, name: 'Data' })).toBeVisible();
	for (const page of [...tabs, ninth]) await expect(connection(page)).toHaveText(LIVE);
	expect(streams).toBe(1);

	// The one that reads goes: another one does.
	const [first, ...rest] = tabs;
	await first?.close();
	const next = await cluster.follower();
	await cluster.act(next, 'transfer');
	for (const page of rest) {
		await expect(row(page, next)).toContainText('Leader');
		await expect(connection(page)).toHaveText(LIVE);
	}
	expect(streams).toBe(2);
});

test('26 a page of another site cannot act on a node', async ({ cluster }) => {
	const stop = '/api/v1/nodes/node1/actions/stop';
	for (const headers of [
		{ origin: 'http://another.example' },
		{ origin: 'null' },
		{ 'sec-fetch-site': 'cross-site' }
	]) {
		const answer = await cluster.send('POST', stop, undefined, headers);
		const { code } = (await answer.json()) as { code: string };
		expect([answer.status, code]).toEqual([403, 'forbidden']);
	}
	expect((await cluster.node('node1')).desired_running).toBe(true);
});

test.describe('what breaks', () => {
	test.use({ clusterOptions: { own: true } });

	test('3 a follower that dies is seen at once, and one that stalls while it does', async ({
		page,
		cluster
	}) => {
		const follower = await cluster.follower();
		await page.goto('/');
		await expect(health(page)).toContainText('Healthy');

		// The launcher starts it again after half a second.
		const died = await glimpse(page, `tbody[data-node="${follower}"]`, /Crashed|Unreachable/);
		const degraded = await glimpse(page, '[data-testid="health"]', /Degraded/);
		const since = Date.now();
		await cluster.kill(follower);
		await Promise.all([died(), degraded()]);
		expect(Date.now() - since).toBeLessThan(3_000);
		await expect(row(page, follower)).toContainText('Online');
		await expect(health(page)).toContainText('Healthy');
		await page.getByRole('link', { name: 'All events' }).click();
		const ended = page.getByRole('main').getByText(/signal 9/);
		await expect(ended.first()).toBeVisible();

		await page.goto('/');
		await cluster.freeze(follower);
		await expect(row(page, follower)).toContainText('Unreachable');
		await expect(health(page)).toContainText('Degraded');
		await expect(health(page)).toContainText('2 of 3 voters online');
		await cluster.thaw(follower);
		await expect(row(page, follower)).toContainText('Online');
		await expect(health(page)).toContainText('Healthy');
	});

	test('4 a leader that dies is followed by another, and what was typed is saved', async ({
		page,
		cluster,
		openContext
	}) => {
		const before = await cluster.shape();
		const watching = await (await openContext()).newPage();
		await watching.goto('/');
		await expect(health(watching)).toContainText('Healthy');
		await page.goto('/data');
		await typeKey(page, 'typed/before', 'the value');

		const electing = await glimpse(watching, '[data-testid="health"]', /No leader for/);
		await cluster.kill(before.leader ?? '');
		await electing();
		const next = await until('a later term has a leader', async () => {
			const { term, leader } = await cluster.shape();
			return (term ?? 0) > (before.term ?? 0) && leader;
		});
		await expect(row(watching, next)).toContainText('Leader');
		const term = String((await cluster.shape()).term);
		const reign = watching.locator(`[data-node="${next}"] [data-term="${term}"]`);
		await expect(reign).toBeVisible();

		await newKey(page).getByRole('button', { name: 'Create key' }).click();
		await expect(newKey(page)).toBeHidden();
		expect(await cluster.get('typed/before')).toBe('the value');
	});

	test('5 without a quorum nothing is lost but time', async ({ page, cluster, checks }) => {
		// What needs a quorum is refused, or not answered in time.
		checks.expectStatus(503, /^\/api\/v1\/(kv|history)/);
		checks.expectStatus(504, /^\/api\/v1\/(kv|history)/);
		await cluster.put('kept', 'from before');
		const [first, second] = (await cluster.shape()).voters as [string, string];
		await page.goto('/data');
		await typeKey(page, 'typed/without', 'a value');
		await cluster.act(first, 'stop');
		await cluster.act(second, 'stop');

		const banner = page.getByRole('alert').filter({ hasText: 'Quorum lost' });
		const create = newKey(page).getByRole('button', { name: 'Create key' });
		await expect(create).toHaveAttribute('aria-disabled', 'true');
		await create.hover();
		await expect(page.getByRole('tooltip')).toContainText(/quorum/i);
		await expect(newKey(page).getByLabel('Key', { exact: true })).toHaveValue('typed/without');
		await expect(newKey(page).locator('.cm-content')).toHaveText('a value');
		await newKey(page).getByRole('button', { name: 'Cancel' }).click();

		await page.getByRole('radio', { name: 'Stale' }).check();
		await expect(page.getByText('from before')).toBeVisible();
		await expect(page.getByRole('main')).toContainText(/stale: node\d answered/);

		for (const path of ['/', '/nodes', '/events', '/metrics']) {
			await page.goto(path);
			await expect(banner).toContainText('1 of 3 voters online, 2 needed');
		}
		await banner.getByRole('button', { name: /^Start node/ }).click();
		await expect(banner).toBeHidden();
		await page.goto('/data');
		await typeKey(page, 'typed/after', 'a value');
		await create.click();
		await expect(newKey(page)).toBeHidden();
		expect(await cluster.get('typed/after')).toBe('a value');
		expect(await cluster.get('kept')).toBe('from before');
	});

	test('18 the page comes back to a launcher that comes back', async ({
		page,
		cluster,
		checks
	}) => {
		checks.expectAway();
		// While its nodes stop and start they may be asked how many keys there are.
		checks.expectStatus(503, /^\/api\/v1\/kv$/);
		await page.goto('/');
		await expect(connection(page)).toHaveText(LIVE);
		await fetchedAhead(page);
		// Its nodes run on, and one is gone when it comes back.
		await cluster.stopLauncher('SIGKILL');
		await expect(connection(page)).toHaveText(/Reconnecting \(\d+\)/);
		await expect(page.getByText(/^Launcher not answering since \d/)).toBeVisible();
		await expect(row(page, 'node1')).toBeVisible();
		// Every page can still be read, and what cannot be done says so.
		for (const name of ['Nodes', 'Metrics', 'Events', 'Data', 'Overview']) {
			const link = page.getByRole('link', { name: new RegExp(`^${name}`) });
			await link.filter({ visible: true }).first().click();
			await expect(page.getByRole('heading', { level: 1, name })).toBeVisible();
			await expect(page.getByText(/^Launcher not answering since \d/)).toBeVisible();
		}
		await page.getByRole('button', { name: 'Add node' }).click();
		await expect(page.getByRole('dialog', { name: 'Add node' })).toBeVisible();
		await page.keyboard.press('Escape');
		await expect(row(page, 'node1')).toBeVisible();
		await cluster.startLauncher();
		await expect(connection(page)).toHaveText(LIVE);
		await expect(page.getByText(/^Launcher not answering/)).toBeHidden();
		const follower = await cluster.follower();
		await cluster.act(follower, 'stop');
		await expect(row(page, follower)).toContainText('Stopped');
		await expect(row(page, await cluster.leader())).toContainText('Leader');

		// Stopped politely it says good-bye, and takes its nodes along.
		await cluster.stopLauncher();
		await expect(connection(page)).toHaveText(/Reconnecting/);
		await cluster.startLauncher();
		await expect(connection(page)).toHaveText(LIVE);
		await expect(health(page)).toContainText('2 of 3 voters online');
		await cluster.act(follower, 'start');
		await expect(health(page)).toContainText('Healthy');
	});

	test('30 a node added in one browser appears in another within a second', async ({
		page,
		cluster,
		openContext
	}) => {
		const other = await (await openContext()).newPage();
		for (const each of [page, other]) {
			await each.goto('/nodes');
			await expect(row(each, 'node3')).toBeVisible();
		}
		await page.getByRole('button', { name: 'Add node' }).first().click();
		const dialog = page.getByRole('dialog', { name: 'Add node' });
		await dialog.getByLabel('Name').fill('node4');
		await dialog.getByRole('button', { name: 'Add node' }).click();
		await expect(row(page, 'node4')).toBeVisible();
		await expect(row(other, 'node4')).toBeVisible({ timeout: 1_000 });
		await cluster.ready(4);
		await expect(row(other, 'node4')).toContainText('Follower');
	});
});

test.describe('behind a token', () => {
	const token = 'a-token-of-enough-letters';
	test.use({ clusterOptions: { token } });

	test('a browser signs in, and is asked again when its session is over', async ({
		page,
		checks
	}) => {
		await page.goto('/nodes');
		await expect(page).toHaveURL(/\/sign-in\?next=/);
		await page.getByLabel('Token').fill(token);
		await page.keyboard.press('Enter');
		await expect(page).toHaveURL(/\/nodes$/);
		await expect(connection(page)).toHaveText(LIVE);
		await fetchedAhead(page);

		// The session ends elsewhere; the next request is told so.
		await page.evaluate(() => fetch('/sign-out', { method: 'POST' }));
		checks.expectStatus(401, /./);
		await page.getByRole('button', { name: 'Add node' }).first().click();
		const dialog = page.getByRole('dialog', { name: 'Add node' });
		await dialog.getByLabel('Name').fill('node4');
		await dialog.getByRole('button', { name: 'Add node' }).click();
		await expect(dialog).toContainText(/token/);
		await dialog.getByRole('button', { name: 'Cancel' }).click();
		const banner = page.getByRole('alert').filter({ hasText: 'Sign in to go on' });
		const signIn = banner.getByRole('link', { name: 'Sign in' });
		await expect(signIn).toHaveAttribute('href', '/sign-in?next=%2Fnodes');

		// Another page says so as well, and leads back to itself.
		await page.getByRole('link', { name: 'Data' }).click();
		await expect(page.getByRole('heading', { level: 1, name: 'Data' })).toBeVisible();
		await expect(signIn).toHaveAttribute('href', '/sign-in?next=%2Fdata');
		await signIn.click();
		await expect(page).toHaveURL(/\/sign-in\?next=%2Fdata$/);
		await page.getByLabel('Token').fill(token);
		await page.keyboard.press('Enter');
		await expect(page.getByRole('heading', { level: 1, name: 'Data' })).toBeVisible();
		await expect(connection(page)).toHaveText(LIVE);
	});
});
