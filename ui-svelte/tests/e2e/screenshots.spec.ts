// The pictures of the dashboard in the documentation: `make screenshots`.

import { expect, test, until } from './fixtures';

test.use({ clusterOptions: { nodes: 5 } });

test('of the Overview, under a bit of load @screenshots', async ({ cluster, openContext }) => {
	test.setTimeout(300_000);
	const load = ['user/', 'order/', 'session/'].map((prefix) =>
		cluster.load({ prefix, perSecond: 60 })
	);
	const written = (least: number) => () =>
		load.every(({ acknowledged }) => acknowledged.length >= least);
	// A change of leadership, in the middle of what the charts show.
	await until('a while of load', written(1_200), 120_000);
	await cluster.act(await cluster.follower(), 'transfer');
	await until('another while of load', written(3_000), 120_000);
	for (const theme of ['light', 'dark'] as const) {
		const context = await openContext({ colorScheme: theme, reducedMotion: 'reduce' });
		const page = await context.newPage();
		await page.goto('/');
		await page.getByRole('radio', { name: '1m' }).check();
		await expect(page.getByTestId('health')).toContainText('Healthy');
		await expect(page.locator('canvas').first()).toBeVisible();
		await page.screenshot({ path: `../docs/dashboard-${theme}.png` });
	}
	await Promise.all(load.map((each) => each.stop()));
	expect(load.flatMap(({ failed }) => failed)).toEqual([0, 0, 0]);
});
