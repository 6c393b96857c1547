// A real launcher with real nodes, on free ports and in a directory of its own. Whatever becomes of a
// test, none of its processes outlives it.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Cluster as ClusterShape, Node, Operation } from '../../src/lib/api/types';
import { cutOff } from './firewall';
import { Load } from './load';

const LAUNCHER = resolve(process.env.AXON_LAUNCHER_BIN ?? '../target/debug/axon-launcher');
const UI = resolve('build');

/** Ports of a cluster: the launcher's, then ten for each node. */
const PORTS = 200;
const PORTS_FROM = 20_000;
const PORTS_TO = 32_000;

const STARTED_WITHIN_MS = 30_000;
const STOPPED_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 50;

export interface StartOptions {
	nodes?: number;
	/** What the launcher and its nodes then ask for. */
	token?: string;
	/** Further variables of the launcher. */
	env?: Record<string, string>;
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Waits for a condition, with a deadline. */
export async function until<T>(
	what: string,
	look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
	withinMs = 20_000
): Promise<T> {
	const deadline = Date.now() + withinMs;
	let last: unknown;
	for (;;) {
		try {
			const found = await look();
			if (found) return found;
			last = found;
		} catch (error) {
			last = error;
		}
		if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what} (${last})`);
		await sleep(LOOK_EVERY_MS);
	}
}

function isFree(port: number): Promise<boolean> {
	return new Promise((answer) => {
		const server = createServer();
		server.once('error', () => answer(false));
		server.listen({ port, host: '127.0.0.1', exclusive: true }, () =>
			server.close(() => answer(true))
		);
	});
}

/** The first port of a block that nobody uses. `AXON_E2E_PORT` says where to look first. */
async function freePorts(nodes: number): Promise<number> {
	const asked = Number(process.env.AXON_E2E_PORT ?? Number.NaN);
	const blocks = Math.floor((PORTS_TO - PORTS_FROM) / PORTS);
	for (let tries = 0; tries < 50; tries++) {
		const random = PORTS_FROM + PORTS * Math.floor(Math.random() * blocks);
		const port = Number.isFinite(asked) ? asked + PORTS * tries : random;
		const wanted = [port];
		for (let node = 1; node <= nodes + 4; node++)
			wanted.push(port + 10 * node, port + 10 * node + 1);
		const free = await Promise.all(wanted.map(isFree));
		if (free.every(Boolean)) return port;
	}
	throw new Error('no free ports for a cluster');
}

export class Cluster {
	readonly directory = mkdtempSync(join(tmpdir(), 'axon-e2e-'));
	private launcher: ChildProcess | null = null;
	private said = '';
	private readonly loads = new Set<Load>();
	private readonly cuts: (() => void)[] = [];

	private constructor(
		readonly port: number,
		private readonly options: StartOptions
	) {}

	static async start(options: StartOptions = {}): Promise<Cluster> {
		for (const [file, make] of [
			[LAUNCHER, 'make build, or say where it is in AXON_LAUNCHER_BIN'],
			[join(UI, 'index.html'), 'npm run build']
		] as const) {
			if (!existsSync(file)) throw new Error(`${file} is not there: ${make}`);
		}
		const nodes = options.nodes ?? 3;
		const cluster = new Cluster(await freePorts(nodes), options);
		try {
			await cluster.startLauncher();
			await cluster.ready(nodes);
		} catch (error) {
			console.error(cluster.logs());
			await cluster.end();
			throw error;
		}
		return cluster;
	}

	get url(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	// The launcher.

	async startLauncher(): Promise<void> {
		const { nodes = 3, token, env = {} } = this.options;
		const server = process.env.AXON_SERVER_BIN;
		const ours = Object.entries(process.env).filter(([name]) => !name.startsWith('AXON_'));
		const launcher = spawn(
			LAUNCHER,
			[
				...['--data-dir', join(this.directory, 'data'), '--listen', `127.0.0.1:${this.port}`],
				...['--base-port', String(this.port + 10), '--nodes', String(nodes), '--ui-dir', UI],
				...(server ? ['--server-bin', resolve(server)] : [])
			],
			{
				env: {
					...Object.fromEntries(ours),
					...(token ? { AXON_LAUNCHER_TOKEN: token } : {}),
					...env
				},
				stdio: ['ignore', 'pipe', 'pipe']
			}
		);
		this.launcher = launcher;
		const hear = (said: Buffer) => (this.said = (this.said + said.toString()).slice(-200_000));
		launcher.stdout.on('data', hear);
		launcher.stderr.on('data', hear);
		await until('the launcher answers', async () => {
			if (launcher.exitCode !== null) throw new Error(`it ended with ${launcher.exitCode}`);
			const answer = await fetch(`${this.url}/api/v1/cluster`);
			await answer.text();
			return answer.status < 500;
		});
	}

	/** Stops the launcher and its nodes, politely; or kills it, and leaves the nodes running. */
	async stopLauncher(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
		const { launcher } = this;
		this.launcher = null;
		if (!launcher || launcher.exitCode !== null || launcher.signalCode !== null) return;
		const ended = new Promise((done) => launcher.once('exit', done));
		launcher.kill(signal);
		const late = sleep(STOPPED_WITHIN_MS).then(() => launcher.kill('SIGKILL'));
		await Promise.race([ended, late]);
	}

	// Its API.

	async send(method: string, path: string, body?: unknown, headers: HeadersInit = {}) {
		const sent = new Headers(headers);
		if (this.options.token) sent.set('authorization', `Bearer ${this.options.token}`);
		if (body !== undefined && !(body instanceof Uint8Array)) {
			sent.set('content-type', 'application/json');
		}
		return fetch(this.url + path, {
			method,
			headers: sent,
			...(body === undefined
				? {}
				: { body: body instanceof Uint8Array ? new Blob([body.slice()]) : JSON.stringify(body) })
		});
	}

	/** Asks for JSON; an answer that is an error throws. */
	async json<T>(method: string, path: string, body?: unknown): Promise<T> {
		const answer = await this.send(method, path, body);
		const text = await answer.text();
		if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
		return (text === '' ? undefined : JSON.parse(text)) as T;
	}

	nodes(): Promise<Node[]> {
		return this.json('GET', '/api/v1/nodes');
	}

	async node(name: string): Promise<Node> {
		return this.json('GET', `/api/v1/nodes/${name}`);
	}

	shape(): Promise<ClusterShape> {
		return this.json('GET', '/api/v1/cluster');
	}

	/** Waits for a leader, and answers its name. */
	leader(): Promise<string> {
		return until('there is a leader', async () => (await this.shape()).leader);
	}

	/** A node that does not lead. */
	async follower(): Promise<string> {
		const { leader, voters } = await this.shape();
		const name = voters.find((voter) => voter !== leader);
		if (!leader || !name) throw new Error('there is no follower');
		return name;
	}

	/** Carries an action out, to its end. */
	async act(name: string, action: string): Promise<Operation> {
		const path = `/api/v1/nodes/${name}/actions/${action}?wait=true`;
		return ended(await this.json<Operation>('POST', path));
	}

	async addNode(name: string, membership: 'voter' | 'learner' = 'voter'): Promise<Operation> {
		const body = { id: name, membership };
		return ended(await this.json<Operation>('POST', '/api/v1/nodes?wait=true', body));
	}

	async addNodes(...names: string[]): Promise<void> {
		for (const name of names) await this.addNode(name);
	}

	async put(key: string, value: string | Uint8Array): Promise<void> {
		const body = typeof value === 'string' ? new TextEncoder().encode(value) : value;
		const answer = await this.send('PUT', `/api/v1/kv/${encodeURIComponent(key)}`, body);
		if (!answer.ok) throw new Error(`put ${key}: ${answer.status} ${await answer.text()}`);
		await answer.text();
	}

	/** The value of a key, as text; null: there is none. `node` reads what that node has applied. */
	async get(key: string, node?: string): Promise<string | null> {
		const query = node === undefined ? '' : `?consistency=local&node=${node}`;
		const answer = await this.send('GET', `/api/v1/kv/${encodeURIComponent(key)}${query}`);
		const text = await answer.text();
		if (answer.status === 404) return null;
		if (!answer.ok) throw new Error(`get ${key}: ${answer.status} ${text}`);
		return text;
	}

	/** Writes keys below `prefix` until it is stopped; what was acknowledged is counted. */
	load(options: { prefix?: string; perSecond?: number } = {}): Load {
		const load = new Load(this, options.prefix ?? 'load/', options.perSecond ?? 50);
		this.loads.add(load);
		return load;
	}

	/** Waits until so many nodes run, vote and see a leader. */
	async ready(nodes: number): Promise<void> {
		await until(
			`${nodes} nodes are ready`,
			async () => {
				const [all, shape] = await Promise.all([this.nodes(), this.shape()]);
				const ready = all.filter((node) => node.state === 'running' && node.ready);
				return (
					shape.health === 'healthy' && ready.length === nodes && shape.voters.length === nodes
				);
			},
			STARTED_WITHIN_MS
		);
	}

	/** Whether it is as it was at its start. */
	async isAsNew(): Promise<boolean> {
		try {
			const [all, shape] = await Promise.all([this.nodes(), this.shape()]);
			const { nodes = 3 } = this.options;
			return shape.health === 'healthy' && shape.voters.length === nodes && all.length === nodes;
		} catch {
			return false;
		}
	}

	// Its nodes' processes, behind the launcher's back.

	/** Kills the process of a node with -9. The launcher starts it again. */
	async kill(name: string): Promise<void> {
		process.kill(await this.pid(name), 'SIGKILL');
	}

	/** Stops the process of a node in its tracks, as a stalled machine does. */
	async freeze(name: string): Promise<void> {
		process.kill(await this.pid(name), 'SIGSTOP');
	}

	async thaw(name: string): Promise<void> {
		process.kill(await this.pid(name), 'SIGCONT');
	}

	/** Cuts a node off from the others, and not from the launcher; what is returned heals. */
	async cutOff(name: string): Promise<() => void> {
		const port = ({ peer_address }: Node) => Number(peer_address.split(':').at(-1));
		const nodes = await this.nodes();
		const others = nodes.filter(({ id }) => id !== name).map(port);
		const [one] = nodes.filter(({ id }) => id === name).map(port);
		if (one === undefined) throw new Error(`there is no ${name}`);
		const heal = cutOff({ pid: await this.pid(name), port: one, others });
		this.cuts.push(heal);
		return heal;
	}

	private async pid(name: string): Promise<number> {
		const { pid } = await this.node(name);
		if (pid === null) throw new Error(`${name} does not run`);
		return pid;
	}

	// The end.

	/** What the launcher and its nodes wrote last. */
	logs(lines = 40): string {
		const tail = (text: string) => text.trimEnd().split('\n').slice(-lines).join('\n');
		let all = `--- axon-launcher\n${tail(this.said)}\n`;
		const directory = join(this.directory, 'data', 'logs');
		const files = existsSync(directory) ? readdirSync(directory) : [];
		for (const file of files.filter((name) => name.endsWith('.log')).sort()) {
			all += `--- ${file}\n${tail(readFileSync(join(directory, file), 'utf8'))}\n`;
		}
		return all;
	}

	async end(): Promise<void> {
		await Promise.all([...this.loads].map((load) => load.stop()));
		for (const heal of this.cuts) heal();
		// Frozen ones cannot end politely.
		for (const pid of this.processes()) signal(pid, 'SIGCONT');
		await this.stopLauncher();
		for (const pid of this.processes()) signal(pid, 'SIGKILL');
		await until('all processes ended', () => this.processes().length === 0, 10_000);
		rmSync(this.directory, { recursive: true, force: true });
	}

	/** Processes whose command line names this cluster's directory. */
	private processes(): number[] {
		const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
		return pids.map(Number).filter((pid) => {
			try {
				return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(this.directory);
			} catch {
				return false;
			}
		});
	}
}

function ended(operation: Operation): Operation {
	if (operation.state !== 'done') {
		const { kind, node, state, error } = operation;
		throw new Error(`${kind} of ${node} is ${state}: ${error}`);
	}
	return operation;
}

function signal(pid: number, name: NodeJS.Signals): void {
	try {
		process.kill(pid, name);
	} catch {
		// It has ended meanwhile.
	}
}
