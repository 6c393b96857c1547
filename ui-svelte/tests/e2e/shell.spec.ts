// What every page has around it: stories 23, 24 and 25.

import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';

const ROUTES: { path: string; title: RegExp }[] = [
	{ path: '/', title: /^Overview/ },
	{ path: '/nodes', title: /^Nodes/ },
	{ path: '/nodes/node1', title: /node1/ },
	{ path: '/nodes/node1/logs', title: /node1/ },
	{ path: '/nodes/node1/metrics', title: /node1/ },
	{ path: '/nodes/node1/events', title: /node1/ },
	{ path: '/nodes/node1/raft', title: /node1/ },
	{ path: '/data', title: /^Data/ },
	{ path: '/data?prefix=config%2F&read=stale', title: /^Data/ },
	{ path: '/data/watch', title: /Watch/ },
	{ path: '/events', title: /^Events/ },
	{ path: '/metrics', title: /^Metrics/ },
	{ path: '/operations', title: /^Operations/ }
];

const heading = (page: Page) => page.getByRole('heading', { level: 1 });

const palette = (page: Page) => page.getByRole('combobox', { name: /^Search pages/ });

const background = (page: Page) =>
	page.evaluate(() => getComputedStyle(document.body).backgroundColor);

/** What stands out of the window to the right, and is not in something that scrolls by itself. */
const beyond = (page: Page) =>
	page.evaluate(() => {
		const width = document.documentElement.clientWidth;
		return document.documentElement.scrollWidth <= width
			? []
			: [...document.querySelectorAll('main *')]
					.filter((one) => one.getBoundingClientRect().right > width + 1)
					.map((one) => `${one.tagName} ${one.className}`.slice(0, 120));
	});

for (const { path, title } of ROUTES) {
	test(`25 ${path} can be come to from outside`, async ({ page }) => {
		await page.goto(path);
		await expect(heading(page)).toBeVisible();
		await expect(heading(page)).toHaveCount(1);
		await expect(page).toHaveTitle(/ · Axon$/);
		await expect(page).toHaveTitle(title);
	});
}

test('25 an unknown page and an unknown node say so, and lead on', async ({ page }) => {
	await page.goto('/no/such/page');
	await expect(heading(page)).toHaveText('No such page');
	await expect(page.getByRole('main')).toContainText('/no/such/page');
	await page.getByRole('main').getByRole('link', { name: 'Go to Overview' }).click();
	await expect(heading(page)).toHaveText('Overview');
	await page.goto('/nodes/nobody');
	await expect(page.getByRole('main')).toContainText('nobody');
	await expect(page.getByRole('main').getByRole('link', { name: /nodes/i }).first()).toBeVisible();
});

for (const width of [320, 390]) {
	test(`23 nothing scrolls sideways at ${width} px @phone`, async ({ page }) => {
		await page.setViewportSize({ width, height: 740 });
		for (const { path } of [...ROUTES, { path: '/no/such/page' }]) {
			await page.goto(path);
			await expect(heading(page)).toBeVisible();
			await expect(page.getByText('Connection: Live').locator('visible=true')).toBeVisible();
			await expect.poll(() => beyond(page), path).toEqual([]);
		}
	});
}

test('23 a phone reaches every page, the search, the theme and the shortcuts @phone', async ({
	page
}) => {
	await page.setViewportSize({ width: 320, height: 740 });
	await page.goto('/');
	for (const name of ['Nodes', 'Data', 'Events', 'Metrics', 'Overview']) {
		await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name }).click();
		await expect(heading(page)).toHaveText(name);
		// Who does not see that the page has changed is led to its heading.
		await expect(heading(page)).toBeFocused();
	}
	await page.getByRole('button', { name: 'Search' }).click();
	await expect(palette(page)).toBeFocused();
	await page.keyboard.press('Escape');
	await page.getByRole('button', { name: 'More', exact: true }).click();
	await page.getByRole('menuitem', { name: 'Theme: dark' }).click();
	await expect(page.locator('html')).toHaveClass(/dark/);
	await page.getByRole('button', { name: 'More', exact: true }).click();
	await page.getByRole('menuitem', { name: 'Shortcuts' }).click();
	await expect(page.getByRole('dialog', { name: 'Shortcuts' })).toBeVisible();
});

test('24 the theme follows the system until one is chosen, and the choice is kept', async ({
	page
}) => {
	await page.emulateMedia({ colorScheme: 'light' });
	await page.goto('/events');
	const light = await background(page);
	await page.emulateMedia({ colorScheme: 'dark' });
	await expect.poll(() => background(page)).not.toBe(light);
	const dark = await background(page);
	await page.getByRole('radio', { name: 'Light' }).check();
	await expect.poll(() => background(page)).toBe(light);
	await page.reload();
	await expect(page.getByRole('radio', { name: 'Light' })).toBeChecked();
	expect(await background(page)).toBe(light);
	// With the keyboard: the next theme is dark.
	await page.keyboard.press('t');
	await expect.poll(() => background(page)).toBe(dark);
});

test('24 the first frame has the chosen theme', async ({ page }) => {
	await page.emulateMedia({ colorScheme: 'light' });
	await page.addInitScript(() => {
		localStorage.setItem('axon.theme', 'dark');
		requestAnimationFrame(() => {
			const dark = document.documentElement.classList.contains('dark');
			sessionStorage.setItem('first-frame', dark ? 'dark' : 'light');
		});
	});
	await page.goto('/events');
	await expect(heading(page)).toBeVisible();
	expect(await page.evaluate(() => sessionStorage.getItem('first-frame'))).toBe('dark');
});

test('the keyboard goes everywhere, and keys do not act while one types', async ({ page }) => {
	await page.goto('/');
	await expect(heading(page)).toBeVisible();
	await page.keyboard.press('g');
	await page.keyboard.press('n');
	await expect(heading(page)).toHaveText('Nodes');
	await page.keyboard.press('?');
	const help = page.getByRole('dialog', { name: 'Shortcuts' });
	await expect(help).toBeVisible();
	await page.keyboard.press('Escape');
	await expect(help).toBeHidden();
	await page.keyboard.press('ControlOrMeta+k');
	const search = palette(page);
	await expect(search).toBeFocused();
	await page.keyboard.type('node2');
	await expect(
		page.getByRole('listbox', { name: 'Found' }).getByRole('option').first()
	).toContainText('node2');
	await page.keyboard.press('Enter');
	await expect(page).toHaveURL(/\/nodes\/node2$/);
	await page.keyboard.press('/');
	await expect(search).toBeFocused();
	// Typed, not acted on.
	await page.keyboard.type('gnt?');
	await expect(search).toHaveValue('gnt?');
	await expect(page).toHaveURL(/\/nodes\/node2$/);
});

test('the palette finds keys, and opens them', async ({ page, cluster }) => {
	await cluster.put('palette/one', '1');
	await page.goto('/');
	await expect(heading(page)).toBeVisible();
	await page.keyboard.press('ControlOrMeta+k');
	await palette(page).fill('palette/');
	await page.getByRole('option', { name: 'palette/one' }).click();
	await expect(page).toHaveURL(/\/data\?.*key=palette%2Fone/);
	await cluster.send('DELETE', '/api/v1/kv/palette%2Fone');
});

test('the skip link leads past the navigation', async ({ page }) => {
	await page.goto('/');
	await expect(heading(page)).toBeVisible();
	await page.keyboard.press('Tab');
	await expect(page.getByRole('link', { name: 'Skip to the content' })).toBeFocused();
	await page.keyboard.press('Enter');
	await expect(page.getByRole('main')).toBeFocused();
});
