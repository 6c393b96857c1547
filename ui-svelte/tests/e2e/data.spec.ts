// Keys and values by hand: stories 10, 11, 12, 13, 14, and the parts of 5 and 21 that are about data.

import { readFileSync } from 'node:fs';
import type { Page } from '@playwright/test';
import { expect, test, until, type Cluster } from './fixtures';

const detail = (page: Page) => page.getByRole('region', { name: 'Key details' });
const row = (page: Page, key: string) => page.locator(`[data-key="${key}"]`);
const editor = (page: Page) => page.getByRole('textbox', { name: 'Value', exact: true });
const where = (page: Page) => page.getByTestId('where');

/** Writes keys many at a time. */
async function fill(cluster: Cluster, prefix: string, from: number, to: number): Promise<void> {
	const batch = 128;
	const starts = Array.from({ length: Math.ceil((to - from) / batch) }, (_, n) => from + n * batch);
	const write = async () => {
		for (let start = starts.pop(); start !== undefined; start = starts.pop()) {
			const numbers = Array.from({ length: Math.min(batch, to - start) }, (_, n) => start + n);
			const success = numbers.map((n) => ({
				put: { key: prefix + String(n).padStart(7, '0'), value: `{"n":${n}}` }
			}));
			await cluster.json('POST', '/api/v1/txn', { success });
		}
	};
	await Promise.all([write(), write(), write(), write()]);
}

async function countOf(cluster: Cluster, prefix: string): Promise<number> {
	const path = `/api/v1/kv?count_only=true&prefix=${encodeURIComponent(prefix)}`;
	return (await cluster.json<{ count: number }>('GET', path)).count;
}

async function newKey(page: Page, key: string, value: string): Promise<void> {
	await page.getByRole('button', { name: 'New key' }).first().click();
	const dialog = page.getByRole('dialog', { name: 'New key' });
	await dialog.getByLabel('Key', { exact: true }).fill(key);
	await dialog.getByRole('textbox', { name: 'Value', exact: true }).fill(value);
	await dialog.getByRole('button', { name: 'Create key' }).click();
}

test('10 a key is created, viewed, edited, deleted and brought back', async ({ page, cluster }) => {
	await page.goto('/data?prefix=story10%2F');
	await expect(page.getByText('No keys under story10/')).toBeVisible();
	await newKey(page, 'story10/a', '{"n":1,"big":12345678901234567890}');
	await expect(row(page, 'story10/a')).toBeVisible();
	await expect(detail(page)).toContainText('12345678901234567890');
	const follower = await cluster.follower();
	await until(
		'another node has it',
		async () => (await cluster.get('story10/a', follower)) !== null
	);

	await detail(page).getByRole('button', { name: 'Edit' }).click();
	await editor(page).fill('{"n":2}');
	await detail(page).getByRole('button', { name: 'Save' }).click();
	await expect(detail(page).locator('dl')).toContainText(/Version\s*2/);
	expect(await cluster.get('story10/a')).toBe('{"n":2}');

	await detail(page).getByText('History', { exact: true }).click();
	await detail(page)
		.getByRole('button', { name: /Version 1/ })
		.click();
	await expect(detail(page)).toContainText('12345678901234567890');

	await detail(page).getByRole('button', { name: 'Delete' }).click();
	const dialog = page.getByRole('dialog', { name: 'Delete this key?' });
	await expect(dialog).toContainText('story10/a');
	await expect(dialog).toContainText('version 2');
	await dialog.getByRole('button', { name: 'Delete key' }).click();
	await expect(page.getByText('No keys under story10/')).toBeVisible();
	expect(await cluster.get('story10/a')).toBeNull();

	await page.getByRole('button', { name: 'Undo' }).click();
	await expect(row(page, 'story10/a')).toBeVisible();
	expect(await cluster.get('story10/a')).toBe('{"n":2}');
});

test('10 an undo leaves alone what was written since', async ({ page, cluster, checks }) => {
	checks.expectStatus(412, /^\/api\/v1\/kv\//);
	await cluster.put('story10b/a', 'old');
	await page.goto('/data?prefix=story10b%2F&key=story10b%2Fa');
	await detail(page).getByRole('button', { name: 'Delete' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Delete key' }).click();
	await until('it is gone', async () => (await cluster.get('story10b/a')) === null);
	await cluster.put('story10b/a', 'new');
	await page.getByRole('button', { name: 'Undo' }).click();
	await expect(page.getByText('written anew since')).toBeVisible();
	expect(await cluster.get('story10b/a')).toBe('new');
});

test.describe('11 a conflict', () => {
	test.beforeEach(async ({ checks }) => checks.expectStatus(412, /^\/api\/v1\/kv\//));

	test('is shown with its difference, and can be overwritten', async ({ page, cluster }) => {
		await cluster.put('story11/a', 'one\ntwo\n');
		await page.goto('/data?key=story11%2Fa');
		await detail(page).getByRole('button', { name: 'Edit' }).click();
		await editor(page).fill('one\nmine\n');
		await cluster.put('story11/a', 'one\ntheirs\n');
		await expect(detail(page).getByText('Changed since you opened it')).toBeVisible();
		await detail(page).getByRole('button', { name: 'Save' }).click();
		await expect(detail(page).getByRole('alert')).toContainText('Not saved');
		expect(await cluster.get('story11/a')).toBe('one\ntheirs\n');

		await detail(page).getByRole('button', { name: 'Show difference' }).click();
		const dialog = page.getByRole('dialog', { name: 'What saving would change' });
		await expect(dialog).toContainText('theirs');
		await expect(dialog).toContainText('mine');
		await dialog.getByRole('button', { name: 'Overwrite version 2' }).click();
		await expect(detail(page).locator('dl')).toContainText(/Version\s*3/);
		expect(await cluster.get('story11/a')).toBe('one\nmine\n');
	});

	test('can be given up: the newer value is shown', async ({ page, cluster }) => {
		await cluster.put('story11/b', 'before');
		await page.goto('/data?key=story11%2Fb');
		await detail(page).getByRole('button', { name: 'Edit' }).click();
		await editor(page).fill('mine');
		await cluster.put('story11/b', 'theirs');
		await detail(page).getByRole('button', { name: 'Save' }).click();
		await expect(detail(page).getByRole('alert')).toContainText('Not saved');
		await expect(editor(page)).toHaveText('mine');
		await detail(page).getByRole('button', { name: 'Discard mine and reload' }).click();
		await expect(detail(page)).toContainText('theirs');
		expect(await cluster.get('story11/b')).toBe('theirs');
	});

	test('a new key does not overwrite one that is there', async ({ page, cluster }) => {
		await cluster.put('story11/c', 'there');
		await page.goto('/data?prefix=story11%2F');
		await newKey(page, 'story11/c', 'mine');
		const dialog = page.getByRole('dialog', { name: 'New key' });
		await expect(dialog.getByRole('alert')).toContainText('exists already');
		expect(await cluster.get('story11/c')).toBe('there');
	});
});

test('12 whatever the bytes are, they are shown and kept', async ({ page, cluster }) => {
	const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
	const large = new Uint8Array(1_000_000).map((_, n) => (n * 31) % 251);
	const path = (key: string) => `/api/v1/kv/${key}`;
	const read = async (key: string) =>
		new Uint8Array(await (await cluster.send('GET', path(key))).arrayBuffer());
	await cluster.send('PUT', path('story12%2F%FF%00'), bytes);
	await cluster.send('PUT', path('story12%2Fempty'), new Uint8Array());
	await cluster.send('PUT', path('story12%2Flarge'), large);
	await cluster.put('story12/🦀', '🦀\r\nsecond line');
	await cluster.put('story12/../up', 'up');
	await cluster.put('story12/<script>alert(1)</script>', '<img src=x onerror=alert(1)>');
	const put = { key: '..', value: 'dots' };
	await cluster.json('POST', '/api/v1/txn', { success: [{ put }] });
	page.on('dialog', (dialog) => {
		throw new Error(`something was executed: ${dialog.message()}`);
	});

	await page.goto('/data?key=story12%2F%FF%00');
	await expect(detail(page).getByRole('heading')).toHaveText('story12/\\xff\\x00');
	await expect(detail(page)).toContainText('f8 f9 fa fb fc fd fe ff');
	// Saved as it is, without a change: the bytes come back the same.
	await detail(page).getByRole('button', { name: 'Edit' }).click();
	await expect(page.getByRole('textbox', { name: /hexadecimal/ })).toBeVisible();
	await detail(page).getByRole('button', { name: 'Save' }).click();
	await expect(detail(page).locator('dl')).toContainText(/Version\s*2/);
	expect(await read('story12%2F%FF%00')).toEqual(bytes);

	await page.goto('/data?key=story12%2Fempty');
	await expect(detail(page)).toContainText('The value is empty');

	await page.goto('/data?key=story12%2Flarge');
	await expect(detail(page)).toContainText('The first 262 KB of 1.0 MB');
	const download = page.waitForEvent('download');
	await detail(page).getByRole('button', { name: 'Download value' }).click();
	const file = await (await download).path();
	expect(new Uint8Array(readFileSync(file))).toEqual(large);

	await page.goto(`/data?key=${encodeURIComponent('story12/🦀')}`);
	await expect(detail(page)).toContainText('second line');
	await detail(page).getByRole('button', { name: 'Edit' }).click();
	await expect(editor(page)).toContainText('second line');
	await detail(page).getByRole('button', { name: 'Save' }).click();
	await expect(detail(page).locator('dl')).toContainText(/Version\s*2/);
	expect(await cluster.get('story12/🦀')).toBe('🦀\r\nsecond line');

	await page.goto('/data?prefix=story12%2F');
	await row(page, 'story12/../up').click();
	await expect(detail(page).getByRole('heading')).toHaveText('story12/../up');
	await row(page, 'story12/<script>alert(1)</script>').click();
	await expect(detail(page)).toContainText('<img src=x onerror=alert(1)>');

	await page.goto('/data?key=..');
	await expect(detail(page)).toContainText('dots');
	await detail(page).getByRole('button', { name: 'Edit' }).click();
	await editor(page).fill('more dots');
	await detail(page).getByRole('button', { name: 'Save' }).click();
	await expect(detail(page)).toContainText('more dots');
});

async function browse(page: Page, prefix: string, keys: number, grouped: string): Promise<void> {
	const name = (n: number) => prefix + String(n).padStart(7, '0');
	await page.goto(`/data?prefix=${encodeURIComponent(prefix)}`);
	await expect(row(page, name(0))).toBeVisible();
	await expect(where(page)).toContainText(`of ${grouped}`, { timeout: 30_000 });
	await expect(where(page)).toContainText('Rows 1–');

	// On and on, beyond what is kept.
	const list = page.getByRole('list', { name: 'Keys', exact: true });
	await until('rows beyond those that are kept came', async () => {
		await list.evaluate((element) => element.scrollTo(0, element.scrollHeight));
		const first = await page.locator('[data-key]').first().getAttribute('data-key');
		return first !== null && first >= name(2_400);
	});
	await expect(where(page)).toContainText('Rows 2,');
	expect(await page.locator('[data-key]').count()).toBeLessThan(80);
	const [first, last] = [
		await page.locator('[data-key]').first().getAttribute('data-key'),
		await page.locator('[data-key]').last().getAttribute('data-key')
	];
	expect(first !== null && last !== null && first < last).toBe(true);

	await page.getByRole('button', { name: 'Go to the last key' }).click();
	await expect(row(page, name(keys - 1))).toBeVisible();
	await expect(where(page)).toContainText(`–${grouped} of ${grouped}`);

	await page.getByRole('button', { name: 'More about these keys' }).click();
	await page.getByRole('menuitem', { name: 'Go to a key' }).click();
	const half = Math.floor(keys / 2);
	await page.getByRole('dialog').getByLabel('Key', { exact: true }).fill(name(half));
	await page.getByRole('button', { name: 'Go', exact: true }).click();
	await expect(row(page, name(half))).toBeVisible();
	await expect(where(page)).toContainText('Rows near');
	await expect(where(page)).toContainText(`of ${grouped}`);
	// What comes before is there as well.
	await page.keyboard.press('ArrowUp');
	await expect(row(page, name(half - 1))).toBeVisible();

	const search = page.getByRole('searchbox', { name: 'Prefix or exact key' });
	await search.fill(name(keys - 1).slice(0, -2));
	await expect(where(page)).toContainText('of 100');
	await search.fill(name(half));
	await search.press('Enter');
	await expect(detail(page).getByRole('heading')).toHaveText(name(half));
	expect(await page.locator('[data-key]').count()).toBeLessThan(80);
}

test('13 many keys are browsed, jumped in and searched', async ({ page, cluster }) => {
	test.setTimeout(120_000);
	await fill(cluster, 'story13/', 0, 20_000);
	await browse(page, 'story13/', 20_000, '20,000');
});

test.describe('@deep', () => {
	test.use({ clusterOptions: { own: true } });
	test('13 a million keys', async ({ page, cluster }) => {
		test.setTimeout(1_200_000);
		await fill(cluster, 'million/', 0, 1_000_000);
		const began = performance.now();
		await page.goto('/data?prefix=million%2F');
		await expect(row(page, 'million/0000000')).toBeVisible();
		const shown = performance.now() - began;
		console.log(`first rows after ${Math.round(shown)} ms`);
		expect(shown).toBeLessThan(1_000);
		await browse(page, 'million/', 1_000_000, '1,000,000');
	});
});

test('14 all keys of a prefix are deleted, and no others', async ({ page, cluster }) => {
	test.setTimeout(120_000);
	await fill(cluster, 'story14/', 0, 10_000);
	await fill(cluster, 'story14-other/', 0, 300);
	await cluster.put('story140', 'after');
	await page.goto('/data?prefix=story14%2F');
	await page.getByRole('button', { name: 'More about these keys' }).click();
	await page.getByRole('menuitem', { name: /Delete all/ }).click();
	const dialog = page.getByRole('dialog');
	await expect(dialog).toContainText('10,000 keys would be deleted');
	const remove = dialog.getByRole('button', { name: 'Delete 10,000 keys' });
	await expect(remove).toHaveAttribute('aria-disabled', 'true');
	await dialog.getByLabel('Type story14/ to confirm').fill('story14/');
	await remove.click();
	await expect(dialog.getByRole('progressbar')).toBeVisible();
	await expect(dialog.getByText('Deleted 10,000 keys.')).toBeVisible({ timeout: 60_000 });
	await dialog.getByRole('button', { name: 'Close' }).last().click();
	await expect(page.getByText('No keys under story14/')).toBeVisible();
	expect(await countOf(cluster, 'story14/')).toBe(0);
	expect(await countOf(cluster, 'story14-other/')).toBe(300);
	expect(await cluster.get('story140')).toBe('after');
});

test('keys are exported and imported, and wrong lines are named', async ({ page, cluster }) => {
	await fill(cluster, 'lines/', 0, 500);
	await cluster.send('PUT', '/api/v1/kv/lines%2F%FF', Uint8Array.of(0, 255));
	await page.goto('/data?prefix=lines%2F');
	await page.getByRole('button', { name: 'More about these keys' }).click();
	await page.getByRole('menuitem', { name: 'Export' }).click();
	const exporting = page.getByRole('dialog', { name: 'Export keys' });
	const download = page.waitForEvent('download');
	await exporting.getByRole('button', { name: 'Export' }).click();
	const text = readFileSync(await (await download).path(), 'utf8');
	await expect(exporting.getByText('Exported 501 keys')).toBeVisible();
	expect(text.trimEnd().split('\n')).toHaveLength(501);
	await exporting.getByRole('button', { name: 'Close' }).last().click();

	await cluster.json('DELETE', '/api/v1/kv?prefix=lines/');
	await page.getByRole('button', { name: 'Import' }).click();
	const importing = page.getByRole('dialog', { name: 'Import keys' });
	const lines = `{"key":"lines/x"\n${text}\n{"value":"no key"}\n`;
	await importing.getByLabel('File to import').setInputFiles({
		name: 'lines.jsonl',
		mimeType: 'application/x-ndjson',
		buffer: Buffer.from(lines)
	});
	await expect(importing).toContainText('501 keys to write');
	await expect(importing).toContainText('2 lines cannot be imported');
	await expect(importing).toContainText('Line 1 is no JSON.');
	await expect(importing).toContainText('Line 504 has no “key”.');
	await importing.getByRole('button', { name: 'Import 501 keys' }).click();
	await expect(importing.getByText('Written 501 keys.')).toBeVisible();
	await importing.getByRole('button', { name: 'Close' }).last().click();
	expect(await countOf(cluster, 'lines/')).toBe(501);
	const binary = await cluster.send('GET', '/api/v1/kv/lines%2F%FF');
	expect(new Uint8Array(await binary.arrayBuffer())).toEqual(Uint8Array.of(0, 255));
	await expect(where(page)).toContainText('of 501');
});

test('what is too large is refused with its limit, and stays typed', async ({ page, checks }) => {
	checks.expectStatus(413, /^\/api\/v1\/kv\//);
	await page.goto('/data?prefix=large%2F');
	await page.getByRole('button', { name: 'New key' }).first().click();
	const dialog = page.getByRole('dialog', { name: 'New key' });
	await dialog.getByLabel('Key', { exact: true }).fill('large/a');
	await dialog.getByText('File', { exact: true }).click();
	await dialog.getByLabel('File for the value').setInputFiles({
		name: 'large.bin',
		mimeType: 'application/octet-stream',
		buffer: Buffer.alloc(1_048_577)
	});
	await dialog.getByRole('button', { name: 'Create key' }).click();
	await expect(dialog.getByRole('alert')).toContainText('limit of 1,048,576 bytes');
	await expect(dialog).toContainText('large.bin');
});

test('21 a key is edited by keyboard alone', async ({ page, cluster }) => {
	for (const n of [1, 2, 3]) await cluster.put(`story21/${n}`, `value ${n}`);
	await page.goto('/data');
	await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
	await page.keyboard.press('/');
	await page.keyboard.type('story21/');
	await expect(where(page)).toContainText('of 3');
	await page.keyboard.press('ArrowDown');
	await page.keyboard.press('j');
	await page.keyboard.press('Enter');
	await expect(detail(page).getByRole('heading')).toHaveText('story21/2');
	await page.keyboard.press('e');
	await expect(editor(page)).toBeFocused();
	await page.keyboard.press('Control+A');
	await page.keyboard.type('by keyboard');
	await page.keyboard.press('Control+s');
	await expect(detail(page).locator('dl')).toContainText(/Version\s*2/);
	expect(await cluster.get('story21/2')).toBe('by keyboard');
	await page.keyboard.press('Escape');
	await expect(detail(page)).toBeHidden();
});

test.describe('5 without a quorum', () => {
	test.use({ clusterOptions: { own: true } });
	test('what is typed is kept, and a stale read says so', async ({ page, cluster, checks }) => {
		test.setTimeout(120_000);
		checks.expectStatus(503, /^\/api\/v1\//);
		checks.expectStatus(504, /^\/api\/v1\//);
		await cluster.put('story5/a', 'before');
		await page.goto('/data?key=story5%2Fa');
		await detail(page).getByRole('button', { name: 'Edit' }).click();
		await editor(page).fill('typed before');
		const leader = await cluster.leader();
		const others = (await cluster.nodes()).map((node) => node.id).filter((id) => id !== leader);
		for (const name of others) await cluster.act(name, 'stop');

		const save = detail(page).getByRole('button', { name: 'Save' });
		await expect(save).toHaveAttribute('aria-disabled', 'true', { timeout: 20_000 });
		await expect(editor(page)).toHaveText('typed before');
		await page.getByRole('radio', { name: 'Stale' }).check();
		await expect(page.getByText(`stale: ${leader} answered, applied index`)).toBeVisible();
		await expect(row(page, 'story5/a')).toBeVisible();
		await expect(editor(page)).toHaveText('typed before');

		for (const name of others) await cluster.act(name, 'start');
		await expect(save).not.toHaveAttribute('aria-disabled', 'true', { timeout: 30_000 });
		await save.click();
		await until('it is saved', async () => (await cluster.get('story5/a')) === 'typed before');
	});
});

test('@phone a key is found, read and edited on a phone', async ({ page, cluster }) => {
	await cluster.put('phone/a', '{"n":1}');
	await page.goto('/data?prefix=phone%2F');
	await row(page, 'phone/a').click();
	const sheet = page.getByRole('dialog', { name: 'phone/a' });
	await expect(sheet).toContainText('"n"');
	await sheet.getByRole('button', { name: 'Edit' }).click();
	await sheet.getByRole('textbox', { name: 'Value', exact: true }).fill('{"n":2}');
	await sheet.getByRole('button', { name: 'Save' }).click();
	await expect(sheet.locator('dl')).toContainText(/Version\s*2/);
	await sheet.getByRole('button', { name: 'Close' }).first().click();
	await expect(row(page, 'phone/a')).toBeVisible();
	const sideways = await page.evaluate(
		() => document.documentElement.scrollWidth > document.documentElement.clientWidth
	);
	expect(sideways).toBe(false);
});
