// What the messages of the stream add up to: plain data, kept current in every tab, painted or not.

import type { Cluster, Event, Node, Operation, Snapshot, Tick } from '../api/types';

export const EVENTS_MAX = 500;
const OPERATIONS_MAX = 100;

const natural = new Intl.Collator('en', { numeric: true });

/** What a message changed, and so what has to be painted. */
export interface Changes {
	cluster: boolean;
	nodes: boolean;
	operations: boolean;
	events: boolean;
	ticks: Tick[];
}

export const nothing = (): Changes => ({
	cluster: false,
	nodes: false,
	operations: false,
	events: false,
	ticks: []
});

type NodePatch = Partial<Node> & { id: string; gone?: boolean };

export class Picture {
	version: string | null = null;
	cluster: Cluster | null = null;
	/** In natural order. */
	nodes: Node[] = [];
	/** Newest first. */
	operations: Operation[] = [];
	/** Newest first. */
	events: Event[] = [];
	/** The launcher's time less the browser's. */
	clockAheadMs = 0;

	/** Takes in a message of the stream, and notes in `changes` what it changed. */
	apply(event: string, data: string, changes: Changes): void {
		switch (event) {
			case 'snapshot':
				return this.begin(JSON.parse(data) as Snapshot, changes);
			case 'cluster':
				this.cluster = JSON.parse(data) as Cluster;
				changes.cluster = true;
				return;
			case 'node':
				return this.patch(JSON.parse(data) as NodePatch, changes);
			case 'tick':
				changes.ticks.push(JSON.parse(data) as Tick);
				return;
			case 'event':
				return this.note([JSON.parse(data) as Event], changes);
			case 'operation':
				return this.show(JSON.parse(data) as Operation, changes);
		}
	}

	private begin(snapshot: Snapshot, changes: Changes): void {
		this.version = snapshot.version;
		this.cluster = snapshot.cluster;
		this.nodes = [...snapshot.nodes].sort((a, b) => natural.compare(a.id, b.id));
		this.operations = [...snapshot.operations].sort((a, b) => b.id - a.id);
		this.clockAheadMs = snapshot.now - Date.now();
		// Events are numbered over restarts of the launcher: those that were seen stay.
		this.note(snapshot.events, changes);
		changes.ticks = snapshot.ticks;
		Object.assign(changes, { cluster: true, nodes: true, operations: true });
	}

	private patch(patch: NodePatch, changes: Changes): void {
		changes.nodes = true;
		if (patch.gone === true) {
			this.nodes = this.nodes.filter((node) => node.id !== patch.id);
			return;
		}
		const at = this.nodes.findIndex((node) => node.id === patch.id);
		if (at === -1) {
			// One that was not there before is told whole.
			this.nodes = [...this.nodes, patch as Node].sort((a, b) => natural.compare(a.id, b.id));
			return;
		}
		this.nodes = this.nodes.with(at, { ...(this.nodes[at] as Node), ...patch });
	}

	private note(told: readonly Event[], changes: Changes): void {
		const newest = this.events[0]?.id ?? 0;
		const fresh = told.filter((event) => event.id > newest).sort((a, b) => b.id - a.id);
		if (fresh.length === 0) return;
		this.events = [...fresh, ...this.events].slice(0, EVENTS_MAX);
		changes.events = true;
	}

	private show(operation: Operation, changes: Changes): void {
		const others = this.operations.filter((other) => other.id !== operation.id);
		this.operations = [operation, ...others].sort((a, b) => b.id - a.id).slice(0, OPERATIONS_MAX);
		changes.operations = true;
	}

	/** All of it, for another tab. */
	dump(): PictureDump {
		const { version, cluster, nodes, operations, events, clockAheadMs } = this;
		return { version, cluster, nodes, operations, events, clockAheadMs };
	}

	load(dump: PictureDump, changes: Changes): void {
		Object.assign(this, dump);
		Object.assign(changes, {
			cluster: true,
			nodes: true,
			operations: true,
			events: true
		});
	}
}

export type PictureDump = Pick<
	Picture,
	'version' | 'cluster' | 'nodes' | 'operations' | 'events' | 'clockAheadMs'
>;
