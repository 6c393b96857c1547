// The cluster as it is now, for every page: the only holder of its state.
//
// Messages change a plain picture as they come, in every tab. What is shown is taken from it once a
// frame, and not at all while painting is paused.

import { onUnauthorized } from '../api/client';
import type { Message } from '../api/sse';
import type { Cluster, Event, Node, Operation } from '../api/types';
import { clock } from './clock.svelte';
import { nothing, Picture, type PictureDump } from './picture';
import type { RingsDump } from './rings';
import { series } from './series.svelte';
import { share, type Share } from './share';
import { CONNECTING, openStream, type StreamStatus } from './stream';

export type Connection = 'connecting' | 'live' | 'delayed' | 'reconnecting' | 'offline';

/** A second of figures is told every second: after this long, what is shown is not live any more. */
const STALE_MS = 3_000;

/** A hidden tab goes without the stream after this long. */
const HIDDEN_MS = 30_000;

type Said = { message: Message } | { status: StreamStatus };

interface Welcome {
	picture: PictureDump;
	rings: RingsDump;
	lastId: string;
	status: StreamStatus;
}

class Live {
	// What is shown.
	#cluster = $state.raw<Cluster | null>(null);
	#nodes = $state.raw<Node[]>([]);
	#operations = $state.raw<Operation[]>([]);
	#events = $state.raw<Event[]>([]);
	#version = $state<string | null>(null);
	#lastMessageAt = $state<number | null>(null);
	#stale = $state(true);
	#status = $state.raw<StreamStatus>(CONNECTING);
	#refused = $state(false);
	#online = $state(true);
	#pausedAt = $state<number | null>(null);

	// What is known.
	#picture = new Picture();
	#changes = nothing();
	#lastId = '';
	/** Whether messages can be added to the picture: nothing is missing between. */
	#whole = false;
	#firstVersion: string | null = null;

	#users = 0;
	#end: (() => void) | null = null;
	#share: Share<Said> | null = null;
	#frame = 0;
	#staleTimer: ReturnType<typeof setTimeout> | undefined;

	readonly connection: Connection = $derived.by(() => {
		if (this.#status.phase === 'waiting') return this.#online ? 'reconnecting' : 'offline';
		if (this.#status.phase === 'connecting' || this.#lastMessageAt === null) return 'connecting';
		return this.#stale ? 'delayed' : 'live';
	});

	/** What keeps everybody from writing now, as far as it is known here. */
	readonly canWrite: { ok: boolean; reason: string | null } = $derived.by(() => {
		const reason = this.#writeHindrance();
		return { ok: reason === null, reason };
	});

	get cluster(): Cluster | null {
		return this.#cluster;
	}
	/** In natural order. */
	get nodes(): Node[] {
		return this.#nodes;
	}
	/** Newest first. */
	get operations(): Operation[] {
		return this.#operations;
	}
	/** Newest first, at most 500. */
	get events(): Event[] {
		return this.#events;
	}
	/** The launcher's version. */
	get version(): string | null {
		return this.#version;
	}
	/** Whether the launcher is of another version than when this page was loaded. */
	get outdated(): boolean {
		return this.#version !== null && this.#version !== this.#firstVersion;
	}
	/** Attempts in a row that failed. */
	get attempt(): number {
		return this.#status.attempt;
	}
	/** When the next attempt is, by the browser's clock. */
	get retryAt(): number | null {
		return this.#status.retryAt;
	}
	/** By the browser's clock. */
	get lastMessageAt(): number | null {
		return this.#lastMessageAt;
	}
	/** Nothing was heard for more than 3 s: what is shown is of the past. */
	get stale(): boolean {
		return this.#stale;
	}
	get signInNeeded(): boolean {
		return this.#refused || this.#status.signInNeeded;
	}
	/** What comes is kept, and not shown. */
	get paused(): boolean {
		return this.#pausedAt !== null;
	}
	set paused(paused: boolean) {
		if (paused === this.paused) return;
		if (paused) series.pause();
		else series.resume();
		this.#pausedAt = paused ? clock.now : null;
		if (!paused) this.#schedule();
	}
	/** How far what is shown is behind while painting is paused. */
	get behindMs(): number {
		return this.#pausedAt === null ? 0 : Math.max(0, clock.now - this.#pausedAt);
	}

	node(name: string): Node | undefined {
		return this.#nodes.find((node) => node.id === name);
	}

	nameOf(nodeId: number | null): string | null {
		if (nodeId === null) return null;
		return this.#nodes.find((node) => node.node_id === nodeId)?.id ?? null;
	}

	/** Follows the cluster until the answer is called. */
	start(): () => void {
		this.#users += 1;
		this.#end ??= this.#follow();
		return () => {
			this.#users -= 1;
			if (this.#users > 0) return;
			this.#end?.();
			this.#end = null;
		};
	}

	#follow(): () => void {
		let hiding: ReturnType<typeof setTimeout> | undefined;
		const onvisibility = () => {
			clearTimeout(hiding);
			if (document.hidden) hiding = setTimeout(() => this.#leave(), HIDDEN_MS);
			else this.#join();
		};
		const ononline = () => (this.#online = navigator.onLine);
		const stopClock = clock.start();
		const stopListening = onUnauthorized(() => (this.#refused = true));
		document.addEventListener('visibilitychange', onvisibility);
		addEventListener('online', ononline);
		addEventListener('offline', ononline);
		ononline();
		this.#join();
		return () => {
			clearTimeout(hiding);
			document.removeEventListener('visibilitychange', onvisibility);
			removeEventListener('online', ononline);
			removeEventListener('offline', ononline);
			stopListening();
			stopClock();
			this.#leave();
			cancelAnimationFrame(this.#frame);
			this.#frame = 0;
		};
	}

	#join(): void {
		this.#share ??= share<Said, Welcome>('axon.stream', {
			lead: () => this.#lead(),
			hear: (said) => {
				if ('status' in said) this.#status = said.status;
				else this.#hear(said.message);
			},
			welcome: () => {
				if (!this.#whole) return null;
				const [picture, rings] = [this.#picture.dump(), series.rings.dump()];
				return { picture, rings, lastId: this.#lastId, status: this.#status };
			},
			welcomed: (welcome) => this.#welcomed(welcome)
		});
	}

	#leave(): void {
		this.#share?.leave();
		this.#share = null;
		this.#whole = false;
		this.#status = CONNECTING;
		clearTimeout(this.#staleTimer);
		this.#stale = true;
	}

	/** Reads the stream, for this tab and the others. */
	#lead(): () => void {
		// What this tab knows is whole up to the last message that it heard.
		this.#whole = this.#lastId !== '';
		const stream = openStream(this.#lastId, {
			onmessage: (message) => {
				this.#share?.tell({ message });
				this.#hear(message);
			},
			onstatus: (status) => {
				this.#share?.tell({ status });
				this.#status = status;
				if (status.phase === 'open') this.#refused = false;
			}
		});
		return () => stream.close();
	}

	#hear(message: Message): void {
		this.#heard();
		if (message.event === 'snapshot') this.#whole = true;
		else if (!this.#whole || !this.#follows(message.id)) {
			if (!this.#whole || this.#isAhead(message.id)) {
				this.#whole = false;
				this.#share?.ask();
			}
			return;
		}
		this.#lastId = message.id;
		this.#picture.apply(message.event, message.data, this.#changes);
		this.#taken();
	}

	/** Messages are numbered without a gap: `<epoch>-<seq>`. */
	#follows(id: string): boolean {
		const [epoch, seq] = parts(this.#lastId);
		const [nextEpoch, nextSeq] = parts(id);
		return nextEpoch === epoch && nextSeq === seq + 1;
	}

	#isAhead(id: string): boolean {
		const [epoch, seq] = parts(this.#lastId);
		const [nextEpoch, nextSeq] = parts(id);
		return nextEpoch !== epoch || nextSeq > seq;
	}

	#welcomed({ picture, rings, lastId, status }: Welcome): void {
		this.#heard();
		this.#status = status;
		this.#lastId = lastId;
		this.#whole = true;
		this.#picture.load(picture, this.#changes);
		series.rings.load(rings);
		series.changed();
		this.#taken();
	}

	#heard(): void {
		this.#lastMessageAt = Date.now();
		this.#stale = false;
		clearTimeout(this.#staleTimer);
		this.#staleTimer = setTimeout(() => (this.#stale = true), STALE_MS);
	}

	#taken(): void {
		const { ticks } = this.#changes;
		if (ticks.length > 0) {
			series.rings.take(ticks);
			series.changed();
			this.#changes.ticks = [];
		}
		clock.aheadMs = this.#picture.clockAheadMs;
		this.#firstVersion ??= this.#picture.version;
		this.#schedule();
	}

	#schedule(): void {
		if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#paint());
	}

	#paint(): void {
		this.#frame = 0;
		if (this.paused && this.#cluster !== null) return;
		const [picture, changes] = [this.#picture, this.#changes];
		this.#changes = nothing();
		this.#version = picture.version;
		if (changes.cluster) this.#cluster = picture.cluster;
		if (changes.nodes) this.#nodes = picture.nodes;
		if (changes.operations) this.#operations = picture.operations;
		if (changes.events) this.#events = picture.events;
	}

	#writeHindrance(): string | null {
		if (this.#status.phase === 'waiting') return 'The launcher does not answer.';
		if (this.#cluster === null) return 'The cluster is not known yet.';
		if (this.#cluster.health === 'no_quorum') return this.#cluster.sentence;
		if (this.#cluster.health === 'no_leader') return 'A leader is being elected.';
		return null;
	}
}

function parts(id: string): [epoch: string, seq: number] {
	const [epoch = '', seq = ''] = id.split('-');
	return [epoch, Number(seq)];
}

export const live = new Live();
