// Who led when, worked out from events. The events are of several clocks' order, told once each.
import type { Event } from '$lib/api/types';

/** A stretch of time in which one node led. */
export interface Reign {
	node: string;
	term: number | null;
	from: number;
	to: number;
	/** Whether it leads still. */
	current: boolean;
}

/** A stretch of time in which nobody led. */
export interface Gap {
	from: number;
	/** When somebody was elected; null: nobody is yet. */
	to: number | null;
	/** How often a node asked for votes. */
	tries: number;
	/** The terms in which one did. */
	firstTerm: number | null;
	lastTerm: number | null;
	/** Whether there were too few voters. */
	quorumLost: boolean;
}

export interface Leadership {
	reigns: Reign[];
	gaps: Gap[];
	/** Elections that changed who leads. */
	changes: number;
	/** Milliseconds without a leader. */
	without: number;
	/** From here on it is known who led. */
	knownFrom: number;
}

interface Span {
	from: number;
	to: number;
	/** Who leads now, by the cluster's own word. */
	leader: string | null;
	/** While nobody does: since when that is known. */
	since?: number | null;
}

/** Kinds that end a reign when they are about the leader. */
const ENDS = new Set(['leadership_lost', 'crashed', 'stopped', 'removed']);
/** Kinds after which the leader may be gone: it is, from then on, if the next word is of another. */
const DOUBTS = new Set(['unhealthy', 'node_unreachable']);
const CLEARS = new Set(['answers_again', 'node_back']);

export const LEADERSHIP_KINDS: readonly string[] = [
	'leader_elected',
	'election_started',
	'quorum_lost',
	'quorum_back',
	...ENDS,
	...DOUBTS,
	...CLEARS
];

class Story {
	readonly reigns: Reign[] = [];
	readonly gaps: Gap[] = [];
	#reign: Reign | null = null;
	/** Since when the one who leads may be gone. */
	#doubt: number | null = null;
	/** Whom a lost quorum took the lead from: it leads on when the quorum is back, if it lives. */
	#suspended: Reign | null = null;
	#gap: Gap | null = null;
	#elected = 0;

	tell(event: Event) {
		const about = this.#reign !== null && event.node === this.#reign.node;
		if (event.kind === 'leader_elected') this.#elect(event);
		else if (event.kind === 'election_started') this.#ask(event);
		else if (event.kind === 'quorum_lost') this.#loseQuorum(event.t);
		else if (event.kind === 'quorum_back') this.#regainQuorum(event.t);
		else if (ENDS.has(event.kind)) {
			if (event.node === this.#suspended?.node) this.#suspended = null;
			if (about) this.#end(this.#doubt ?? event.t);
		} else if (about && DOUBTS.has(event.kind)) this.#doubt ??= event.t;
		else if (about && CLEARS.has(event.kind)) this.#doubt = null;
	}

	finish({ to, leader, since }: Span) {
		const reign = this.#reign;
		if (reign !== null && leader === null) this.#end(this.#doubt ?? since ?? to);
		else if (reign !== null) {
			reign.to = to;
			reign.current = reign.node === leader;
		}
	}

	#elect({ node, term, t }: Event) {
		const known = this.#reign;
		// Told late, by one that was cut off.
		if (node === null || (term !== null && term < this.#elected)) return;
		if (known !== null && known.node === node && known.term === term) return;
		if (known !== null) this.#end(this.#doubt ?? t);
		this.#elected = term ?? this.#elected;
		this.#begin(node, term, t);
	}

	#begin(node: string, term: number | null, t: number) {
		if (this.#gap !== null) {
			// Two clocks may disagree by a little about what was first.
			this.#gap.to = Math.max(t, this.#gap.from);
			if (this.#gap.to === this.#gap.from) this.gaps.pop();
		}
		this.#gap = null;
		this.#doubt = null;
		this.#suspended = null;
		this.#reign = { node, term, from: t, to: t, current: false };
		this.reigns.push(this.#reign);
	}

	#end(t: number) {
		const reign = this.#reign;
		if (reign === null) return;
		reign.to = Math.max(t, reign.from);
		this.#reign = null;
		this.#doubt = null;
		this.#openGap(reign.to);
	}

	#openGap(from: number): Gap {
		this.#gap ??= {
			from,
			to: null,
			tries: 0,
			firstTerm: null,
			lastTerm: null,
			quorumLost: false
		};
		if (this.gaps[this.gaps.length - 1] !== this.#gap) this.gaps.push(this.#gap);
		return this.#gap;
	}

	#ask({ term, t }: Event) {
		if (term === null || term <= this.#elected) return;
		// Nobody is elected before anybody asked: the first try of all opens the first gap.
		if (this.#reign !== null) this.#end(this.#doubt ?? t);
		this.#suspended = null;
		const gap = this.#openGap(t);
		gap.tries += 1;
		gap.firstTerm = Math.min(gap.firstTerm ?? term, term);
		gap.lastTerm = Math.max(gap.lastTerm ?? term, term);
	}

	#loseQuorum(t: number) {
		const reign = this.#reign;
		const since = this.#doubt ?? t;
		this.#end(since);
		this.#suspended = reign;
		this.#openGap(since).quorumLost = true;
	}

	#regainQuorum(t: number) {
		if (this.#suspended !== null) this.#begin(this.#suspended.node, this.#suspended.term, t);
	}
}

/** Who led from `from` to `to`. `events` may be in any order, and begin before that. */
export function leadership(events: readonly Event[], span: Span): Leadership {
	const { from, to } = span;
	const story = new Story();
	const ordered = [...events].sort((a, b) => a.t - b.t || a.id - b.id);
	for (const event of ordered) if (event.t <= to) story.tell(event);
	story.finish(span);

	const all = story.reigns;
	const reigns = all
		.filter((reign) => reign.to > from)
		.map((reign) => ({ ...reign, from: Math.max(from, reign.from) }));
	const gaps = story.gaps
		.filter((gap) => (gap.to ?? to) > from)
		.map((gap) => ({ ...gap, from: Math.max(from, gap.from) }));
	const first = Math.min(all[0]?.from ?? Infinity, story.gaps[0]?.from ?? Infinity);
	return {
		reigns,
		gaps,
		changes: all.slice(1).filter((reign, i) => reign.from >= from && reign.node !== all[i]?.node)
			.length,
		without: gaps.reduce((sum, gap) => sum + ((gap.to ?? to) - gap.from), 0),
		knownFrom: Number.isFinite(first) ? Math.max(from, first) : to
	};
}

/** A column of what only a leader knows: unknown while nobody led, whatever was said. */
export function ledOnly(t: Float64Array, values: Float64Array, gaps: readonly Gap[]): Float64Array {
	return values.map((value, i) => {
		const at = t[i] ?? 0;
		return gaps.some((gap) => at > gap.from && at <= (gap.to ?? Infinity)) ? NaN : value;
	});
}

/** The terms and tries of a gap in words: `terms 15 to 26, 11 tries`. */
export function gapWords({ tries, firstTerm, lastTerm }: Gap): string {
	if (firstTerm === null || lastTerm === null) return 'nobody has asked for votes';
	const terms =
		firstTerm === lastTerm
			? `term ${String(firstTerm)}`
			: `terms ${String(firstTerm)} to ${String(lastTerm)}`;
	return `${terms}, ${String(tries)} ${tries === 1 ? 'try' : 'tries'}`;
}
