// Tests against a real launcher and real nodes.
//
// `cluster` is one for all tests of a worker, as long as they leave it as they found it: whoever does
// not says `test.use({ clusterOptions: { own: true } })` and gets one of their own. A shared one that
// is not as new after a test is thrown away all the same.

import { test as base, type BrowserContext, type BrowserContextOptions } from '@playwright/test';
import { Checks } from './checks';
import { Cluster, type StartOptions } from './cluster';

export { expect } from '@playwright/test';
export { Cluster, until } from './cluster';
export type { Load } from './load';

export interface ClusterOptions extends StartOptions {
	/** Whether the test breaks it. */
	own?: boolean;
}

interface TestFixtures {
	clusterOptions: ClusterOptions;
	cluster: Cluster;
	/** What the test expects to go wrong. */
	checks: Checks;
	/** Opens another browser, as it were: its own cookies, storage and streams. */
	openContext: (options?: BrowserContextOptions) => Promise<BrowserContext>;
}

interface WorkerFixtures {
	shelf: { cluster: Cluster | null };
}

const isOwn = ({ own, ...options }: ClusterOptions) =>
	own === true || Object.keys(options).length > 0;

export const test = base.extend<TestFixtures, WorkerFixtures>({
	clusterOptions: [{}, { option: true }],

	shelf: [
		// eslint-disable-next-line no-empty-pattern -- Playwright reads the names of what is needed
		async ({}, use) => {
			const shelf: WorkerFixtures['shelf'] = { cluster: null };
			await use(shelf);
			await shelf.cluster?.end();
		},
		{ scope: 'worker', timeout: 60_000 }
	],

	cluster: [
		async ({ clusterOptions, shelf }, use, testInfo) => {
			const own = isOwn(clusterOptions);
			const cluster = own
				? await Cluster.start(clusterOptions)
				: (shelf.cluster ??= await Cluster.start());
			try {
				await use(cluster);
				if (testInfo.status !== testInfo.expectedStatus) {
					const logs = cluster.logs();
					console.error(logs);
					await testInfo.attach('logs', { body: cluster.logs(10_000), contentType: 'text/plain' });
				}
			} finally {
				if (own || !(await cluster.isAsNew())) {
					if (!own) shelf.cluster = null;
					await cluster.end();
				}
			}
		},
		{ timeout: 120_000 }
	],

	// eslint-disable-next-line no-empty-pattern -- as above
	checks: async ({}, use) => {
		const checks = new Checks();
		await use(checks);
		const found = checks.found();
		if (found.length > 0) throw new Error(`What was not expected:\n${found.join('\n')}`);
	},

	baseURL: async ({ cluster }, use) => use(cluster.url),

	context: async ({ context, checks }, use) => {
		checks.watch(context);
		await use(context);
	},

	openContext: async ({ browser, checks, baseURL }, use) => {
		const opened: BrowserContext[] = [];
		await use(async (options = {}) => {
			const context = await browser.newContext({ ...(baseURL ? { baseURL } : {}), ...options });
			checks.watch(context);
			opened.push(context);
			return context;
		});
		await Promise.all(opened.map((context) => context.close()));
	}
});
