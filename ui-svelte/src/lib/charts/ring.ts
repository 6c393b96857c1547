// Where the members stand in the picture of the consensus ring, and how each looks.
import type { Cluster, Node } from '$lib/api/types';

export type Look =
	'leader' | 'voter' | 'learner' | 'candidate' | 'alone' | 'down' | 'stopped' | 'unknown';

export interface Placed {
	name: string;
	/** What fits into its circle. */
	label: string;
	look: Look;
	/** `node2, voter, does not answer`. */
	words: string;
	x: number;
	y: number;
	r: number;
}

export interface Picture {
	leader: Placed | null;
	voters: Placed[];
	learners: Placed[];
}

export const SIZE = 316;
export const CENTRE = SIZE / 2;
export const INNER = 98;
export const OUTER = 138;
const LABEL_LENGTH = 6;

/** `orders-12` is `ord…12`: names of one cluster mostly differ at their end. */
export function shorten(name: string): string {
	if (name.length <= LABEL_LENGTH) return name;
	return `${name.slice(0, 3)}…${name.slice(-2)}`;
}

const LOOK_WORDS: Record<Look, string> = {
	leader: 'leads',
	voter: 'answers',
	learner: 'answers',
	candidate: 'asks for votes',
	alone: 'takes itself for the leader, without a quorum',
	down: 'does not answer',
	stopped: 'is stopped',
	unknown: 'is not run from here'
};

function lookOf(node: Node | undefined, learner: boolean): Look {
	switch (node?.state) {
		case undefined:
			return 'unknown';
		case 'stopped':
		case 'stopping':
		case 'removed':
			return 'stopped';
		default:
			// It may run and not answer, or have just begun: either way it says nothing.
			if (node?.role === null) return 'down';
			if (node?.role === 'leader') return 'alone';
			if (node?.role === 'candidate') return 'candidate';
			return learner ? 'learner' : 'voter';
	}
}

/** Where the members of one ring stand, as angles. */
function angles(count: number, leads: boolean, start: number): number[] {
	// Two followers opposite each other would make a line with the leader, not a ring.
	if (leads && count === 2) return [(-5 / 6) * Math.PI, -Math.PI / 6];
	return Array.from({ length: count }, (_, at) => start + (at / count) * Math.PI * 2);
}

const at = (angle: number, radius: number) => ({
	x: CENTRE + radius * Math.cos(angle),
	y: CENTRE + radius * Math.sin(angle)
});

/** Neighbours on a ring of `radius` do not touch. */
function fitting(count: number, radius: number, most: number) {
	const apart = 2 * radius * Math.sin(Math.PI / Math.max(2, count));
	return Math.max(5, Math.min(most, apart / 2 - 4));
}

export function picture(cluster: Cluster, nodes: readonly Node[]): Picture {
	const leader = cluster.leader;
	const byName = new Map(nodes.map((node) => [node.id, node]));
	const make = (name: string, learner: boolean, place: { x: number; y: number; r: number }) => {
		const leads = name === leader;
		const look = leads ? 'leader' : lookOf(byName.get(name), learner);
		const words = `${name}, ${learner ? 'learner' : 'voter'}, ${LOOK_WORDS[look]}`;
		return { name, label: shorten(name), look, words, ...place };
	};
	const peers = cluster.voters.filter((name) => name !== leader);
	const leads = leader !== null;
	const voterR = fitting(peers.length, INNER, 22);
	const learnerR = fitting(cluster.learners.length, OUTER, 17);
	// With a leader the spokes are diagonal, without one the first stands on top.
	const voterAngles = angles(peers.length, leads, leads ? -Math.PI * 0.75 : -Math.PI / 2);
	const learnerAngles = angles(cluster.learners.length, false, Math.PI / 2);
	return {
		leader: leader !== null ? make(leader, false, { x: CENTRE, y: CENTRE, r: 33 }) : null,
		voters: peers.map((name, i) =>
			make(name, false, { ...at(voterAngles[i] ?? 0, INNER), r: voterR })
		),
		learners: cluster.learners.map((name, i) =>
			make(name, true, { ...at(learnerAngles[i] ?? 0, OUTER), r: learnerR })
		)
	};
}

/** The whole picture in a sentence, for those who do not see it. */
export function pictureWords({ leader, voters, learners }: Picture): string {
	const head = leader === null ? 'No leader.' : `${leader.name} leads.`;
	const others = [...voters, ...learners].map((member) => member.words);
	return [head, ...others.map((words) => `${words}.`)].join(' ');
}
