// For everybody: axe on every page (story 22), without a mouse (21), and left open for long (29).

import AxeBuilder from '@axe-core/playwright';
import type { Locator, Page } from '@playwright/test';
import type { Operation } from '../../src/lib/api/types';
import { expect, test, until, type Cluster } from './fixtures';

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'];

const PAGES = [
	'/',
	'/nodes',
	'/nodes/node1',
	'/nodes/node1/logs',
	'/nodes/node1/metrics',
	'/nodes/node1/events',
	'/nodes/node1/raft',
	'/nodes/nobody',
	'/data',
	'/data?prefix=config/&key=config/a',
	'/data/watch',
	'/events',
	'/metrics',
	'/operations',
	'/operations/1',
	'/operations/987654',
	'/nowhere'
];

async function isLive(page: Page): Promise<void> {
	await expect(page.getByText(/Connection:\s*Live/).filter({ visible: true })).toBeVisible();
}

/** What axe finds, a line for each kind and place. */
async function violations(page: Page, where: string): Promise<string[]> {
	const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze();
	return violations.flatMap(({ id, nodes }) =>
		nodes.map(({ target, html, failureSummary }) => {
			const why = failureSummary?.split('\n').slice(1, 3).join(' ').trim();
			return `${where}: ${id} at ${target.join(' ')}: ${html.slice(0, 160)} (${why})`;
		})
	);
}

async function look(page: Page, paths: readonly string[]): Promise<string[]> {
	const found: string[] = [];
	for (const path of paths) {
		await page.goto(path);
		await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
		await isLive(page);
		await expect(page.locator('main [aria-busy="true"]')).toHaveCount(0);
		found.push(...(await violations(page, path)));
	}
	return found;
}

/** Everything that opens above a page. */
async function lookAbove(page: Page): Promise<string[]> {
	const found: string[] = [];
	const open = async (what: string, keys: string | Locator) => {
		await (typeof keys === 'string' ? page.keyboard.press(keys) : keys.click());
		await expect(page.getByRole('dialog').last()).toBeVisible();
		found.push(...(await violations(page, what)));
		await page.keyboard.press('Escape');
		await expect(page.getByRole('dialog')).toHaveCount(0);
	};
	await page.goto('/nodes');
	await isLive(page);
	await expect(page.getByRole('main').getByRole('button', { name: 'Add node' })).toBeEnabled();
	await open('the palette', 'Control+k');
	await open('the shortcuts', '?');
	await open('add node', 'n');
	await page.goto('/events');
	await open('an event', page.getByRole('list', { name: 'Events' }).getByRole('button').first());
	await open('the kinds', page.getByRole('button', { name: 'All kinds' }));
	await page.goto('/data');
	await isLive(page);
	// A page has its keys once it is there.
	await expect(page.getByRole('button', { name: 'New key' })).toBeEnabled();
	await open('a new key', 'n');
	return found;
}

/** Two of three nodes do not answer. */
async function loseQuorum(cluster: Cluster): Promise<void> {
	await cluster.act('node2', 'stop');
	await cluster.freeze('node3');
	await until('the quorum is lost', async () => (await cluster.shape()).health === 'no_quorum');
}

async function regainQuorum(cluster: Cluster): Promise<void> {
	await cluster.thaw('node3');
	await cluster.act('node2', 'start');
	await cluster.ready(3);
}

for (const theme of ['light', 'dark'] as const) {
	for (const device of ['', ' @phone']) {
		test.describe(`22 axe finds nothing, ${theme}${device}`, () => {
			test.beforeEach(async ({ page, checks }) => {
				test.setTimeout(300_000);
				checks.expectStatus(404, /^\/api\/v1\//);
				await page.addInitScript((theme) => localStorage.setItem('axon.theme', theme), theme);
				// What is half faded in is seen by nobody for long.
				await page.emulateMedia({ reducedMotion: 'reduce' });
			});

			test('healthy', async ({ page, cluster }) => {
				await cluster.put('config/a', '{"on": true}');
				await cluster.act('node2', 'restart');
				expect(await look(page, PAGES)).toEqual([]);
				if (device === '') expect(await lookAbove(page)).toEqual([]);
			});

			test('quorum lost', async ({ page, cluster, checks }) => {
				checks.expectStatus(503, /^\/api\/v1\//);
				checks.expectStatus(504, /^\/api\/v1\//);
				await loseQuorum(cluster);
				const without = ['/nodes/nobody', '/nowhere', '/operations/987654', '/operations/1'];
				const found = await look(
					page,
					[...PAGES, '/nodes/node2', '/nodes/node3/logs'].filter((path) => !without.includes(path))
				);
				await regainQuorum(cluster);
				expect(found).toEqual([]);
			});
		});
	}
}

/** Goes on to a control as a keyboard does. */
async function tabTo(page: Page, control: Locator): Promise<void> {
	await expect(control).toBeVisible();
	const isThere = () => control.evaluate((element) => element === document.activeElement);
	for (let presses = 0; presses < 80; presses++) {
		if (await isThere()) return;
		await page.keyboard.press('Tab');
	}
	throw new Error(`not reached by Tab: ${control}`);
}

test.describe('without a mouse', () => {
	test.use({ clusterOptions: { own: true } });

	test('21 add a node, go to it, restart it, edit a key', async ({ page, cluster }) => {
		test.setTimeout(120_000);
		await cluster.put('config/a', 'before');
		await page.goto('/');
		await isLive(page);

		// A key right after a dialog was closed, before the focus has left it, is for the page.
		const dialog = page.getByRole('dialog');
		await page.keyboard.press('?');
		await expect(dialog.getByRole('checkbox')).toBeFocused();
		await page.evaluate(() => {
			document.querySelector<HTMLDialogElement>('dialog[open]')?.close();
			const slash = new KeyboardEvent('keydown', { key: '/', bubbles: true });
			document.activeElement?.dispatchEvent(slash);
		});
		await expect(dialog.getByRole('combobox')).toBeFocused();
		await page.keyboard.press('Escape');
		await expect(dialog).toHaveCount(0);

		await page.keyboard.press('g');
		await page.keyboard.press('n');
		await expect(page.getByRole('heading', { level: 1 })).toHaveText('Nodes');
		await tabTo(page, page.getByRole('main').getByRole('button', { name: 'Add node' }));
		await page.keyboard.press('Enter');
		await expect(dialog.getByLabel('Name')).toBeFocused();
		await page.keyboard.press('Control+a');
		await page.keyboard.type('nimble');
		await page.keyboard.press('Enter');
		await until('nimble votes', async () => (await cluster.node('nimble')).membership === 'voter');
		await page.keyboard.press('Escape');
		await expect(dialog).toHaveCount(0);

		await page.keyboard.press('Control+k');
		await expect(dialog.getByRole('combobox')).toBeFocused();
		await page.keyboard.type('nimble');
		await expect(dialog.getByRole('option').first()).toContainText('nimble');
		await page.keyboard.press('Enter');
		await expect(page).toHaveURL('/nodes/nimble');
		await expect(page.getByRole('heading', { level: 1 })).toContainText('nimble');

		const { pid } = await cluster.node('nimble');
		await tabTo(page, page.getByRole('main').getByRole('button', { name: 'Restart' }));
		await page.keyboard.press('Enter');
		// Four voters need three: while it is down no further one may fail.
		await tabTo(page, dialog.getByRole('button', { name: 'Restart nimble' }));
		await page.keyboard.press('Enter');
		await until('nimble was restarted', async () => {
			const operations = await cluster.json<Operation[]>('GET', '/api/v1/operations');
			return operations.some(
				({ kind, node, state }) => kind === 'restart' && node === 'nimble' && state === 'done'
			);
		});
		expect((await cluster.node('nimble')).pid).not.toBe(pid);
		await page.keyboard.press('Escape');
		await expect(dialog).toHaveCount(0);

		await page.keyboard.press('g');
		await page.keyboard.press('d');
		await expect(page.getByRole('heading', { level: 1 })).toHaveText('Data');
		await expect(page.getByText('config/', { exact: false }).first()).toBeVisible();
		await page.keyboard.press('j');
		await page.keyboard.press('Enter');
		await expect(page).toHaveURL(/key=config/);
		await page.keyboard.press('e');
		const editor = page.locator('main').getByRole('textbox', { name: /value/i });
		await tabTo(page, editor);
		await page.keyboard.press('Control+a');
		await page.keyboard.type('after');
		await tabTo(page, page.getByRole('main').getByRole('button', { name: 'Save' }));
		await page.keyboard.press('Enter');
		await until('the value is written', async () => (await cluster.get('config/a')) === 'after');
	});
});

test('29 ten minutes live take no more memory @deep', async ({ page, cluster }) => {
	const MINUTE = 60_000;
	test.setTimeout(15 * MINUTE);
	const load = cluster.load({ perSecond: 50 });
	await page.goto('/');
	await isLive(page);
	const tools = await page.context().newCDPSession(page);
	const heap = async () => {
		await tools.send('HeapProfiler.collectGarbage');
		const { usedSize } = await tools.send('Runtime.getHeapUsage');
		return usedSize;
	};
	const passed = (minutes: number) => {
		const end = Date.now() + minutes * MINUTE;
		return until(`${minutes} minutes`, () => Date.now() > end, (minutes + 1) * MINUTE);
	};
	// What is loaded late and what is compiled is there after the first minute.
	await passed(1);
	const before = await heap();
	await passed(10);
	const grown = (await heap()) - before;
	test.info().annotations.push({ type: 'heap', description: `${before} + ${grown} bytes` });
	await load.stop();
	await isLive(page);
	expect(grown).toBeLessThan(5 << 20);
});
