// What can be done to nodes, from the page: stories 2, 6, 7, 8, 9, 27 and 28, and the first half of 21.

import type { Locator, Page } from '@playwright/test';
import type { Members, Operation } from '../../src/lib/api/types';
import { firewallMissing } from './firewall';
import { expect, test, until, type Cluster } from './fixtures';

test.use({ clusterOptions: { own: true } });

/** A write may wait for a hand-over, and no longer than this. */
const WRITE_PAUSE_MAX_MS = 3_000;

const row = (page: Page, name: string) => page.locator(`tbody[data-node="${name}"]`);
const dialog = (page: Page) => page.getByRole('dialog');

async function open(page: Page, path = '/nodes') {
	await page.goto(path);
	await expect(page.getByText('Connection: Live').filter({ visible: true })).toHaveCount(1);
}

/** An item of a node's menu, with the menu open. */
async function item(page: Page, name: string, label: string): Promise<Locator> {
	await page.getByRole('button', { name: `Actions on ${name}` }).click();
	return page.getByRole('menuitem', { name: label });
}

async function choose(page: Page, name: string, label: string) {
	await (await item(page, name, label)).click();
}

/** A row of the table that tells what an action does to the quorum: now, and then. */
async function expectEffect(page: Page, what: string, now: number, then: number) {
	const cells = dialog(page).getByRole('row', { name: what }).getByRole('cell');
	await expect(cells).toHaveText([String(now), String(then)]);
}

/** The members, as each node that runs has them. */
async function membersOfEach(cluster: Cluster): Promise<string[][]> {
	const nodes = (await cluster.nodes()).filter((node) => node.role !== null);
	return Promise.all(
		nodes.map(async ({ id }) => {
			const { members } = await cluster.json<Members>('GET', `/api/v1/members?node=${id}`);
			return members.map((member) => member.name).sort();
		})
	);
}

test('2 a node is added as a learner, catches up and gets its vote', async ({ page, cluster }) => {
	await cluster.put('before', 'was here first');
	await open(page);
	await expect(page.locator('tbody[data-node]')).toHaveCount(3);
	await page.getByRole('button', { name: 'Add node' }).click();
	const name = dialog(page).getByLabel('Name');
	await expect(name).toHaveValue('node4');

	await name.fill('Node 4');
	const wrong = (text: string) => dialog(page).locator('p', { hasText: text });
	await expect(wrong('and begins with a letter or a digit')).toBeVisible();
	await name.fill('node1');
	await expect(wrong('There is a node node1 already')).toBeVisible();
	await name.fill('node4');
	await name.press('Enter');

	const steps = dialog(page).getByRole('list', { name: 'Steps' });
	await expect(steps.getByRole('listitem')).toHaveCount(4);
	await expect(steps).toContainText('joined as a learner');
	await expect(dialog(page).getByText('Done', { exact: true }).first()).toBeVisible({
		timeout: 30_000
	});
	await dialog(page).getByRole('button', { name: 'Close' }).last().click();

	await expect(page.locator('tbody[data-node]')).toHaveCount(4);
	await expect(row(page, 'node4')).toContainText('Follower');
	await expect(row(page, 'node4')).toContainText('Online');
	expect((await cluster.shape()).voters.toSorted()).toEqual(['node1', 'node2', 'node3', 'node4']);
	await until('node4 has the key', async () => (await cluster.get('before', 'node4')) !== null);
	expect(await cluster.get('before', 'node4')).toBe('was here first');
});

test('a learner stays one until it is promoted, with its effect shown first', async ({
	page,
	cluster
}) => {
	await open(page);
	await page.getByRole('button', { name: 'Add node' }).click();
	await dialog(page).getByLabel('Learner only').check();
	await dialog(page).getByRole('button', { name: 'Add node' }).click();
	await expect(dialog(page).getByText('Done', { exact: true }).first()).toBeVisible({
		timeout: 30_000
	});
	await page.keyboard.press('Escape');
	await expect(row(page, 'node4')).toContainText('Learner');
	expect((await cluster.shape()).learners).toEqual(['node4']);

	const transfer = await item(page, 'node4', 'Transfer leadership here');
	await expect(transfer).toHaveAttribute('aria-disabled', 'true');
	await expect(transfer).toContainText('It does not vote, so it cannot lead');
	await page.keyboard.press('Escape');

	await choose(page, 'node4', 'Promote to voter');
	await expectEffect(page, 'Voters', 3, 4);
	await expectEffect(page, 'Needed to decide', 2, 3);
	await dialog(page).getByRole('button', { name: 'Promote node4' }).click();
	await expect(row(page, 'node4')).toContainText('Follower');
	expect((await cluster.shape()).voters).toContain('node4');
});

test('6 a follower is restarted from its menu: steps, new process, data kept', async ({
	page,
	cluster
}) => {
	await cluster.put('kept', 'over the restart');
	const name = await cluster.follower();
	const before = await cluster.node(name);
	await open(page);
	// Of three voters none may fail while one is down: that is asked first.
	await choose(page, name, 'Restart');
	await expect(dialog(page)).toContainText('No further voter may fail while it is down');
	await expectEffect(page, 'Online', 3, 2);
	await dialog(page)
		.getByRole('button', { name: `Restart ${name}` })
		.click();
	await expect(dialog(page)).toHaveCount(0);

	await page.getByText(`Restart ${name}`, { exact: true }).first().waitFor();
	const after = await until('it runs again', async () => {
		const node = await cluster.node(name);
		return node.pid !== before.pid && node.ready && node;
	});
	expect(after.started ?? 0).toBeGreaterThan(before.started ?? 0);
	await expect(page.getByText(`Restart ${name}: done`)).toBeVisible();
	await expect(row(page, name)).toContainText('Online');

	const [operation] = (await cluster.json<Operation[]>('GET', '/api/v1/operations')).filter(
		({ kind }) => kind === 'restart'
	);
	await page.goto(`/operations/${operation?.id}`);
	const steps = page.getByRole('list', { name: 'Steps' });
	for (const step of [`Stop ${name}`, `Start ${name}`, `Wait until ${name} is ready`]) {
		await expect(steps).toContainText(step);
	}
	await until('it has the key', async () => (await cluster.get('kept', name)) !== null);
	expect(await cluster.get('kept', name)).toBe('over the restart');
});

test('7 leadership moves before the leader stops, and writes go on', async ({ page, cluster }) => {
	const leader = await cluster.leader();
	const load = cluster.load({ perSecond: 25 });
	await until('the load runs', () => load.acknowledged.length > 10);
	await open(page, `/nodes/${leader}`);
	await page.getByRole('button', { name: 'Stop', exact: true }).click();
	await expect(dialog(page)).toContainText('Leadership moves first');
	await expectEffect(page, 'Online', 3, 2);
	await expect(dialog(page)).toContainText(`Move leadership away from ${leader}`);
	await dialog(page)
		.getByRole('button', { name: `Stop ${leader}` })
		.click();

	await expect(page.locator('main')).toContainText('Stopped');
	const next = await cluster.leader();
	expect(next).not.toBe(leader);
	const [operation] = await cluster.json<Operation[]>('GET', '/api/v1/operations');
	expect(operation?.steps.map(({ name, state }) => `${name}: ${state}`)).toEqual([
		`move leadership away from ${leader}: done`,
		`stop ${leader}: done`
	]);
	const before = load.acknowledged.length;
	await until('writes go on', () => load.acknowledged.length > before + 10);
	await load.stop();
	expect(load.longestPauseMs).toBeLessThan(WRITE_PAUSE_MAX_MS);
	expect(await load.lost()).toEqual([]);

	await page.getByRole('button', { name: 'Start', exact: true }).click();
	await expect(page.getByText(`Start ${leader}: done`)).toBeVisible({ timeout: 20_000 });
	await expect(page.locator('main')).toContainText('Online');
});

test('8 a node is decommissioned once its name is typed', async ({ page, cluster }) => {
	const name = await cluster.follower();
	await open(page);
	await choose(page, name, 'Decommission');
	await expectEffect(page, 'Voters', 3, 2);
	const go = dialog(page).getByRole('button', { name: `Decommission ${name}` });
	await expect(go).toHaveAttribute('aria-disabled', 'true');
	const word = dialog(page).getByLabel(`Type ${name} to confirm`);
	await word.fill(name.slice(0, -1));
	await expect(go).toHaveAttribute('aria-disabled', 'true');
	await word.fill(name);
	await expect(go).not.toHaveAttribute('aria-disabled', 'true');
	await go.click();

	await expect(row(page, name)).toHaveCount(0, { timeout: 20_000 });
	await until('no node has it as a member', async () => {
		const all = await membersOfEach(cluster);
		return all.length === 2 && all.every((members) => !members.includes(name));
	});
	const removed = page.locator('details', { hasText: 'Removed' });
	await removed.locator('summary').click();
	await expect(removed.locator(`[data-removed="${name}"]`)).toBeVisible();

	await page.reload();
	await removed.locator('summary').click();
	await expect(removed.locator(`[data-removed="${name}"]`)).toContainText(name);
	await expect(row(page, name)).toHaveCount(0);

	await page.goto(`/nodes/${name}`);
	await expect(page.getByRole('heading', { level: 1 })).toHaveText(`${name} was removed`);
	await page.goto('/nodes/nobody');
	await expect(page.getByText('The cluster has no node nobody')).toBeVisible();
});

test('9 what would break the quorum is refused, with the reason', async ({
	page,
	cluster,
	checks
}) => {
	const leader = await cluster.leader();
	const [gone = '', kept = ''] = (await cluster.shape()).voters.filter((name) => name !== leader);
	await open(page);
	// The dialog is open already when the other one goes: what it says changes under the eyes.
	await choose(page, kept, 'Decommission');
	await dialog(page).getByLabel(`Type ${kept} to confirm`).fill(kept);
	const go = dialog(page).getByRole('button', { name: `Decommission ${kept}` });
	await expect(go).not.toHaveAttribute('aria-disabled', 'true');
	await cluster.freeze(gone);
	await expect(dialog(page).getByText('Refused.')).toBeVisible();
	await expect(dialog(page)).toContainText('leaves 1 of 2 voters, 2 are needed');
	await expect(go).toHaveAttribute('aria-disabled', 'true');
	await page.keyboard.press('Escape');

	await expect(row(page, gone)).toContainText('Process is running but not answering');
	for (const label of ['Restart', 'Decommission']) {
		const refused = await item(page, kept, label);
		await expect(refused).toHaveAttribute('aria-disabled', 'true');
		await expect(refused).toContainText('are needed');
		await page.keyboard.press('Escape');
	}
	checks.expectStatus(409, /decommission/);
	const answer = await cluster.send('POST', `/api/v1/nodes/${kept}/actions/decommission`);
	expect(answer.status).toBe(409);
	expect((await cluster.shape()).voters).toContain(kept);

	await cluster.thaw(gone);
	await expect(row(page, gone)).toContainText('Online');
});

test('a process that ended is told from one that is silent, with its last lines', async ({
	page,
	cluster
}) => {
	const name = await cluster.follower();
	await open(page, `/nodes/${name}`);
	await cluster.kill(name);
	await expect(
		page.getByRole('heading', { name: 'Last process that ended by itself' })
	).toBeVisible();
	await expect(page.locator('main')).toContainText('was killed (signal 9)');
	await expect(page.getByRole('region', { name: 'Its last lines' })).toContainText(/\w/);
	await cluster.ready(3);
});

test('a node’s own view stands beside the cluster’s', async ({ page, cluster }) => {
	const [name, leader] = [await cluster.follower(), await cluster.leader()];
	await open(page, `/nodes/${name}/raft`);
	await expect(page.getByText('It agrees with the cluster')).toBeVisible();
	await expect(page.getByRole('row', { name: /^Leader / }).getByRole('cell')).toHaveText([
		leader,
		leader
	]);
	await expect(page.getByRole('region', { name: 'Members as it sees them' })).toContainText(
		'itself'
	);

	await cluster.freeze(name);
	await expect(page.getByText(`${name} does not answer any more`)).toBeVisible();
	await cluster.thaw(name);
	await expect(page.getByText('It agrees with the cluster')).toBeVisible();
});

test('27 a leader that is cut off has its own view of who leads, until it is heard again', async ({
	page,
	cluster
}) => {
	const missing = firewallMissing();
	test.skip(missing !== null, missing ?? '');

	const [before, was] = [await cluster.shape(), await cluster.leader()];
	await open(page);
	const heal = await cluster.cutOff(was);
	try {
		const leads = await until('another leads', async () => {
			const { leader, term } = await cluster.shape();
			return leader !== was && (term ?? 0) > (before.term ?? 0) && leader;
		});
		await expect(row(page, leads)).toContainText('Leader');
		const differs = new RegExp(`${was} (says it leads|knows no leader) in term \\d+`);
		await expect(row(page, was)).toContainText(differs);
		await row(page, was).getByRole('link', { name: was }).click();
		await page.getByRole('link', { name: 'Raft view' }).click();
		await expect(page.getByText(/\d differences? from the cluster/)).toBeVisible();
		await cluster.put('while/cut-off', 'by the majority');
	} finally {
		heal();
	}
	await expect(page.getByText('It agrees with the cluster')).toBeVisible();
	await page.getByRole('link', { name: 'Nodes' }).first().click();
	await expect(row(page, was)).toContainText('Online');
	await expect(row(page, was)).not.toContainText('in term');
	// Its own state, which may be behind for a moment: it follows before it has all of the log.
	await until('it has what was written meanwhile', async () => {
		return (await cluster.get('while/cut-off', was)) === 'by the majority';
	});
});

test('21 by the keyboard alone a node is added, found and restarted', async ({ page, cluster }) => {
	await open(page, '/');
	// The second key must follow soon, which a busy machine may not manage.
	await expect(async () => {
		await page.keyboard.press('g');
		await page.keyboard.press('n');
		await expect(page.getByRole('heading', { level: 1 })).toHaveText('Nodes', { timeout: 2_000 });
	}).toPass();
	await page.keyboard.press('n');
	await expect(dialog(page).getByLabel('Name')).toBeFocused();
	await page.keyboard.press('Enter');
	await expect(dialog(page).getByText('Done', { exact: true }).first()).toBeVisible({
		timeout: 30_000
	});
	await page.keyboard.press('Escape');
	await expect(dialog(page)).toHaveCount(0);
	await cluster.ready(4);

	const at = (await cluster.nodes()).findIndex(({ role }) => role !== 'leader') + 1;
	for (let press = 0; press < at; press++) await page.keyboard.press('j');
	const link = page
		.locator('tbody[data-node]')
		.nth(at - 1)
		.locator('[data-row]');
	await expect(link).toBeFocused();
	const name = (await link.textContent()) ?? '';
	await page.keyboard.press('Enter');
	await expect(page.getByRole('heading', { level: 1 })).toHaveText(name);

	const before = await cluster.node(name);
	const restart = page.getByRole('button', { name: 'Restart', exact: true });
	for (let press = 0; press < 20; press++) {
		if (await restart.evaluate((button) => button === document.activeElement)) break;
		await page.keyboard.press('Tab');
	}
	await expect(restart).toBeFocused();
	await page.keyboard.press('Enter');
	const go = dialog(page).getByRole('button', { name: `Restart ${name}` });
	await expect(go).not.toHaveAttribute('aria-disabled', 'true');
	for (let press = 0; press < 6; press++) {
		if (await go.evaluate((button) => button === document.activeElement)) break;
		await page.keyboard.press('Tab');
	}
	await page.keyboard.press('Enter');
	await until('it runs again', async () => {
		const node = await cluster.node(name);
		return node.pid !== before.pid && node.ready;
	});
	await cluster.ready(4);
});

test.describe('with five nodes', () => {
	test.use({ clusterOptions: { own: true, nodes: 5 } });
	test.setTimeout(240_000);

	test('28 a rolling restart under load takes one down at a time and loses nothing', async ({
		page,
		cluster
	}) => {
		await open(page);
		const before = new Map((await cluster.nodes()).map(({ id, pid }) => [id, pid]));

		// With a margin a follower's restart is one click.
		const follower = await cluster.follower();
		await choose(page, follower, 'Restart');
		await expect(page.getByText(`Restart ${follower}: done`)).toBeVisible({ timeout: 30_000 });
		await expect(dialog(page)).toHaveCount(0);
		expect((await cluster.node(follower)).pid).not.toBe(before.get(follower));
		await cluster.ready(5);

		const load = cluster.load({ perSecond: 100 });
		await until('the load runs', () => load.acknowledged.length > 20);
		await page.getByRole('button', { name: 'Rolling restart' }).click();
		await expectEffect(page, 'Online', 5, 4);
		await dialog(page).getByRole('button', { name: 'Restart all nodes' }).click();
		await expect(
			dialog(page).getByRole('list', { name: 'Steps' }).getByRole('listitem')
		).toHaveCount(5);

		const done = dialog(page).getByText('Done', { exact: true }).first();
		let mostDown = 0;
		await until(
			'all are restarted',
			async () => {
				const nodes = await cluster.nodes();
				mostDown = Math.max(mostDown, nodes.filter((node) => node.state !== 'running').length);
				return nodes.every(({ id, pid }) => pid !== null && pid !== before.get(id));
			},
			120_000
		);
		await expect(done).toBeVisible({ timeout: 60_000 });
		expect(mostDown).toBeLessThanOrEqual(1);
		// What was between two looks: each was started again before the next was stopped.
		const { events } = await cluster.json<{ events: { kind: string; node: string | null }[] }>(
			'GET',
			'/api/v1/events?kind=stopped,started&limit=10'
		);
		const order = events.toReversed().map(({ kind, node }) => `${kind} ${node}`);
		const stopped = order.filter((_, at) => at % 2 === 0);
		expect(stopped.map((words) => words.replace('stopped ', '')).toSorted()).toEqual(
			[...before.keys()].toSorted()
		);
		expect(order.filter((_, at) => at % 2 === 1)).toEqual(
			stopped.map((words) => words.replace('stopped', 'started'))
		);
		await load.stop();
		await cluster.ready(5);
		expect(load.acknowledged.length).toBeGreaterThan(50);
		expect(await load.lost()).toEqual([]);
		await dialog(page).getByRole('button', { name: 'Close' }).last().click();
	});

	test('selected nodes are restarted one at a time', async ({ page, cluster }) => {
		await open(page);
		const before = new Map((await cluster.nodes()).map(({ id, pid }) => [id, pid]));
		for (const name of ['node2', 'node4']) {
			await row(page, name)
				.getByRole('checkbox', { name: `Select ${name}` })
				.check();
		}
		await page.getByRole('button', { name: 'Restart one at a time' }).click();
		await dialog(page).getByRole('button', { name: 'Restart', exact: true }).click();
		await dialog(page).getByRole('button', { name: 'Close' }).nth(1).click({ timeout: 60_000 });
		for (const { id, pid } of await cluster.nodes()) {
			const chosen = ['node2', 'node4'].includes(id);
			expect(pid !== before.get(id), id).toBe(chosen);
		}
		await cluster.ready(5);
	});
});
