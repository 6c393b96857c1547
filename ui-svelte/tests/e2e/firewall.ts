// Cuts a node off from the others, and from nobody else: packets between their peer ports are dropped,
// while the launcher goes on asking it over HTTP. All of it happens on one machine and one address, so
// what a node sends is told by its control group, or, where it was connected before, by its ports.

import { execFileSync } from 'node:child_process';
import {
	existsSync,
	mkdirSync,
	readFileSync,
	readdirSync,
	readlinkSync,
	rmdirSync,
	writeFileSync
} from 'node:fs';
import { join } from 'node:path';

export interface Wanted {
	pid: number;
	/** Where it listens for the others. */
	port: number;
	/** Where the others do. */
	others: readonly number[];
}

/** Why nobody can be cut off here; null: it can be done. */
export function firewallMissing(): string | null {
	if (process.getuid?.() !== 0) return 'cutting a node off takes root';
	if (groups() === null) return 'cutting a node off takes cgroups of version 2';
	// A rule of the same kind that changes nothing.
	const rule = [
		'OUTPUT',
		'-p',
		'tcp',
		'--dport',
		'1',
		'-m',
		'cgroup',
		'--path',
		'/',
		'-j',
		'ACCEPT'
	];
	try {
		iptables('-I', rule);
		iptables('-D', rule);
		return null;
	} catch (error) {
		return `cutting a node off takes iptables, and may not be done: ${String(error)}`;
	}
}

/** Cuts it off; what is returned heals. */
export function cutOff({ pid, port, others }: Wanted): () => void {
	const root = groups();
	if (root === null) throw new Error(firewallMissing() ?? 'no control groups');
	const before = join(root, groupOf(pid));
	const name = `axon-cut-off-${pid}`;
	const group = join(root, name);
	const sends = ['-m', 'cgroup', '--path', name];
	const rules = [
		drop('--dport', String(port)),
		drop('--sport', String(port)),
		...others.map((other) => drop(...sends, '--dport', String(other)))
	];
	const connected = () =>
		connectionsOf(pid)
			.filter(({ there }) => others.includes(there))
			.map(({ here, there }) => drop('--sport', String(here), '--dport', String(there)));
	const done: (() => void)[] = [];
	const heal = () => {
		for (const undo of done.splice(0).reverse()) undo();
	};
	try {
		mkdirSync(group);
		done.push(() => rmdirSync(group));
		writeFileSync(join(group, 'cgroup.procs'), String(pid));
		done.push(() => {
			// It may have ended meanwhile.
			if (existsSync(`/proc/${pid}`)) writeFileSync(join(before, 'cgroup.procs'), String(pid));
		});
		const add = (rule: string[]) => {
			iptables('-I', rule);
			done.push(() => iptables('-D', rule));
		};
		rules.forEach(add);
		connected().forEach(add);
		return heal;
	} catch (error) {
		heal();
		throw error;
	}
}

function drop(...match: string[]): string[] {
	return ['OUTPUT', '-p', 'tcp', ...match, '-j', 'DROP'];
}

function iptables(how: '-I' | '-D', [chain, ...match]: string[]): void {
	execFileSync('iptables', ['-w', how, chain ?? '', ...match], { stdio: 'pipe' });
}

/** Where the control groups are; a match by a path knows those of version 2 only. */
function groups(): string | null {
	for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
		const [, at, kind] = line.split(' ');
		if (kind === 'cgroup2' && at) return at;
	}
	return null;
}

/** The ports of its connections of IPv4. */
function connectionsOf(pid: number): { here: number; there: number }[] {
	const own = new Set<string | undefined>();
	for (const fd of readdirSync(`/proc/${pid}/fd`)) {
		try {
			own.add(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
		} catch {
			// It was closed meanwhile.
		}
	}
	const portOf = (address = '') => Number.parseInt(address.split(':')[1] ?? '', 16);
	return readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
		.trim()
		.split('\n')
		.map((line) => line.trim().split(/\s+/))
		.filter((columns) => own.has(columns[9]))
		.map(([, here, there]) => ({ here: portOf(here), there: portOf(there) }));
}

function groupOf(pid: number): string {
	const own = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
	return own?.[1] ?? '/';
}
