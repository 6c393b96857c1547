// A node's log, live: story 16.

import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test, until, type Cluster } from './fixtures';

const log = (page: Page) => page.getByRole('log');

/** Lines as a node writes them, behind those that it wrote itself. */
function write(cluster: Cluster, node: string, lines: string[], level = 'INFO'): void {
	const at = new Date().toISOString().replace('Z', '000Z');
	const text = lines.map((line) => `${at} ${level.padStart(5)} axon_test: ${line}\n`).join('');
	appendFileSync(join(cluster.directory, 'data', 'logs', `${node}.log`), text);
}

const numbered = (from: number, count: number) =>
	Array.from({ length: count }, (_, index) => `line ${from + index} of many`);

test('16 follows live, by level and with a search that is marked', async ({ page, cluster }) => {
	await page.goto('/nodes/node1/logs');
	await expect(log(page)).toContainText('serving name=node1');
	write(cluster, 'node1', ['something happened peer=node2']);
	await expect(log(page)).toContainText('something happened peer=node2');

	write(cluster, 'node1', ['disk is slow'], 'WARN');
	await page.getByLabel('Level').selectOption('warn');
	await expect(log(page)).toContainText('disk is slow');
	await expect(log(page)).not.toContainText('something happened');
	await expect(page).toHaveURL(/level=warn/);
	write(cluster, 'node1', ['nobody wants this']);
	write(cluster, 'node1', ['disk is full'], 'ERROR');
	await expect(log(page)).toContainText('disk is full');
	await expect(log(page)).not.toContainText('nobody wants this');

	await page.getByLabel('Level').selectOption('All levels');
	await page.getByRole('searchbox').fill('DISK IS');
	await expect(log(page).locator('mark')).toHaveText(['disk is', 'disk is']);
	await expect(log(page)).not.toContainText('something happened');
	await page.reload();
	await expect(log(page).locator('mark')).toHaveCount(2);

	const download = page.waitForEvent('download');
	await page.getByRole('button', { name: 'Download' }).click();
	const file = await (await download).path();
	const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
	expect(lines).toHaveLength(2);
	expect(lines[1]).toContain('disk is full');
});

test('16 what comes while one reads further up is counted, and waits below', async ({
	page,
	cluster
}) => {
	write(cluster, 'node1', numbered(0, 300));
	await page.goto('/nodes/node1/logs');
	await expect(log(page)).toContainText('line 299 of many');
	const follow = page.getByRole('button', { name: 'Follow' });
	await expect(follow).toHaveAttribute('aria-pressed', 'true');
	await log(page).hover();
	await page.mouse.wheel(0, -2_000);
	await expect(follow).toHaveAttribute('aria-pressed', 'false');
	const first = await log(page).locator('time + span + span').first().innerText();

	write(cluster, 'node1', numbered(300, 37));
	const pill = page.getByRole('button', { name: '37 new lines' });
	await expect(pill).toBeVisible();
	await expect(log(page).locator('time + span + span').first()).toHaveText(first);
	await pill.click();
	await expect(log(page)).toContainText('line 336 of many');
	await expect(follow).toHaveAttribute('aria-pressed', 'true');

	await follow.click();
	write(cluster, 'node1', ['a '.repeat(400)]);
	await page.getByRole('button', { name: 'Wrap' }).click();
	await page.getByRole('button', { name: '1 new line' }).click();
	const row = log(page).getByText('a a a a').first();
	await expect(row).toBeInViewport();
	const box = await row.boundingBox();
	expect(box?.height).toBeGreaterThan(40);
});

test('16 a crash shows its exit code and its last lines', async ({ page, cluster }) => {
	await cluster.act('node2', 'stop');
	await page.goto('/nodes/node2/logs');
	await expect(page.getByText(/^node2 stopped/)).toBeVisible();
	const identity = join(cluster.directory, 'data', 'nodes', 'node2', 'data', 'identity');
	const whole = readFileSync(identity);
	writeFileSync(identity, 'cut short');
	await cluster.send('POST', '/api/v1/nodes/node2/actions/start');
	await expect(page.getByText(/^node2 crashed/)).toBeVisible();
	await expect(log(page)).toContainText('is corrupt');
	await page.getByRole('button', { name: 'Show how it ended' }).click();
	const dialog = page.getByRole('dialog', { name: 'How the last process of node2 ended' });
	await expect(dialog).toContainText('code 1');
	await expect(dialog.getByRole('region', { name: 'The last lines of its log' })).toContainText(
		'is corrupt'
	);
	await page.keyboard.press('Escape');

	writeFileSync(identity, whole);
	await cluster.ready(3);
	await expect(page.getByText(/^node2 crashed/)).toBeHidden();
});

test('a log goes on, and says where lines may be missing, when the launcher comes back', async ({
	page,
	cluster,
	checks
}) => {
	checks.expectAway();
	write(cluster, 'node1', ['before']);
	await page.goto('/nodes/node1/logs');
	await expect(log(page)).toContainText('before');
	await cluster.stopLauncher('SIGKILL');
	await expect(page.getByText('The log is not being followed')).toBeVisible();
	await cluster.startLauncher();
	await expect(page.getByText('The log is not being followed')).toBeHidden();
	// Places in a log are not known to another launcher: what may be missing is said.
	await expect(log(page)).toContainText('Lines are missing here');
	write(cluster, 'node1', ['after']);
	await expect(log(page)).toContainText('after');
	await cluster.ready(3);
});

test.describe('lines of JSON', () => {
	test.use({ clusterOptions: { env: { AXON_LOG_FORMAT: 'json' } } });

	test('are read out', async ({ page }) => {
		await page.goto('/nodes/node1/logs');
		await expect(log(page)).toContainText('axon_server serving');
		await expect(log(page)).not.toContainText('"timestamp"');
	});
});

test('20,000 lines are kept, and 2,000 a second leave the page usable @deep', async ({
	page,
	cluster
}) => {
	test.setTimeout(180_000);
	await page.goto('/nodes/node1/logs');
	await expect(log(page)).toContainText('serving');
	// The longest time that nothing was painted, in each second.
	await page.evaluate(() => {
		const frames: number[] = [];
		Object.assign(window, { frames });
		let last = performance.now();
		const frame = (now: number) => {
			frames.push(now - last);
			last = now;
			requestAnimationFrame(frame);
		};
		requestAnimationFrame(frame);
	});
	let written = 0;
	const began = Date.now();
	await until(
		'25,000 lines were written',
		() => {
			const due = Math.min(25_000, Math.floor((Date.now() - began) * 2));
			if (due > written) write(cluster, 'node1', numbered(written, due - written));
			written = due;
			return written === 25_000;
		},
		60_000
	);
	await expect(log(page)).toContainText('line 24999 of many', { timeout: 60_000 });
	await expect(page.getByText('20,000 lines')).toBeVisible();
	expect(await log(page).locator('time').count()).toBeLessThan(120);
	const frames = await page.evaluate(() => (window as unknown as { frames: number[] }).frames);
	frames.sort((a, b) => a - b);
	const p95 = frames[Math.floor(frames.length * 0.95)] ?? Infinity;
	test.info().annotations.push({ type: 'frame p95', description: `${Math.round(p95)} ms` });
	expect(p95).toBeLessThan(100);
	await log(page).focus();
	await page.keyboard.press('Home');
	await expect(page.getByRole('button', { name: 'Follow' })).toHaveAttribute(
		'aria-pressed',
		'false'
	);
});
