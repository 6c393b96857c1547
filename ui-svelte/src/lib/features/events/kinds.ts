// What each kind of event is called, which group it is filtered in, and how it looks. A kind that
// stands in no table (a newer launcher may know more) is shown by its own words.
import type { Event, Operation, Severity } from '$lib/api/types';
import type { Icon, Tone } from '$lib/ui/types';
import ArrowRightLeft from '@lucide/svelte/icons/arrow-right-left';
import Ban from '@lucide/svelte/icons/ban';
import ChevronsUp from '@lucide/svelte/icons/chevrons-up';
import CircleCheck from '@lucide/svelte/icons/circle-check';
import CircleDot from '@lucide/svelte/icons/circle-dot';
import Crown from '@lucide/svelte/icons/crown';
import Gauge from '@lucide/svelte/icons/gauge';
import HardDrive from '@lucide/svelte/icons/hard-drive';
import HeartCrack from '@lucide/svelte/icons/heart-crack';
import HeartPulse from '@lucide/svelte/icons/heart-pulse';
import Link from '@lucide/svelte/icons/link';
import ListChecks from '@lucide/svelte/icons/list-checks';
import LogIn from '@lucide/svelte/icons/log-in';
import LogOut from '@lucide/svelte/icons/log-out';
import MapPin from '@lucide/svelte/icons/map-pin';
import OctagonAlert from '@lucide/svelte/icons/octagon-alert';
import OctagonX from '@lucide/svelte/icons/octagon-x';
import PackageCheck from '@lucide/svelte/icons/package-check';
import Play from '@lucide/svelte/icons/play';
import Plug from '@lucide/svelte/icons/plug';
import Plus from '@lucide/svelte/icons/plus';
import RefreshCw from '@lucide/svelte/icons/refresh-cw';
import RotateCw from '@lucide/svelte/icons/rotate-cw';
import Scissors from '@lucide/svelte/icons/scissors';
import Send from '@lucide/svelte/icons/send';
import ShieldAlert from '@lucide/svelte/icons/shield-alert';
import Square from '@lucide/svelte/icons/square';
import Trash2 from '@lucide/svelte/icons/trash-2';
import Unlink from '@lucide/svelte/icons/unlink';
import Unplug from '@lucide/svelte/icons/unplug';
import Vote from '@lucide/svelte/icons/vote';
import Zap from '@lucide/svelte/icons/zap';

export const GROUPS = ['Leadership', 'Membership', 'Processes', 'Storage', 'Requests'] as const;
export type Group = (typeof GROUPS)[number];

interface Look {
	words: string;
	group: Group;
	icon: Icon;
	/** How it looks when nothing is wrong; a warning or an error has its own colour. */
	tone?: Tone;
}

const KINDS: Record<string, Look> = {
	leader_elected: { words: 'Leader elected', group: 'Leadership', icon: Crown, tone: 'accent' },
	election_started: { words: 'Election started', group: 'Leadership', icon: Vote },
	leadership_lost: { words: 'Leadership lost', group: 'Leadership', icon: Ban },
	leadership_handed_over: {
		words: 'Leadership handed over',
		group: 'Leadership',
		icon: ArrowRightLeft
	},
	quorum_lost: { words: 'Quorum lost', group: 'Leadership', icon: OctagonX },
	quorum_back: { words: 'Quorum back', group: 'Leadership', icon: CircleCheck, tone: 'ok' },

	node_unreachable: { words: 'Node unreachable', group: 'Membership', icon: Unplug },
	node_back: { words: 'Node back', group: 'Membership', icon: Plug, tone: 'ok' },
	joined: { words: 'Joined', group: 'Membership', icon: LogIn, tone: 'learn' },
	promoted: { words: 'Promoted', group: 'Membership', icon: ChevronsUp, tone: 'learn' },
	removed: { words: 'Removed', group: 'Membership', icon: LogOut },
	moved: { words: 'Address changed', group: 'Membership', icon: MapPin },
	decommissioned: { words: 'Decommissioned', group: 'Membership', icon: Trash2 },

	started: { words: 'Started', group: 'Processes', icon: Play },
	stopped: { words: 'Stopped', group: 'Processes', icon: Square },
	crashed: { words: 'Crashed', group: 'Processes', icon: OctagonAlert },
	unhealthy: { words: 'Not answering', group: 'Processes', icon: HeartCrack },
	answers_again: { words: 'Answers again', group: 'Processes', icon: HeartPulse, tone: 'ok' },
	adopted: { words: 'Taken over', group: 'Processes', icon: Link },
	disowned: { words: 'Let go', group: 'Processes', icon: Unlink },

	snapshot_sent: { words: 'Snapshot sent', group: 'Storage', icon: Send },
	snapshot_installed: { words: 'Snapshot installed', group: 'Storage', icon: PackageCheck },
	purged: { words: 'Log purged', group: 'Storage', icon: Scissors },
	disk_low: { words: 'Disk low', group: 'Storage', icon: HardDrive },
	disk_back: { words: 'Disk has room again', group: 'Storage', icon: HardDrive, tone: 'ok' },
	disk_slow: { words: 'Disk slow', group: 'Storage', icon: Gauge },
	scrubbed: { words: 'State scrubbed', group: 'Storage', icon: CircleCheck },
	state_differs: { words: 'State differs', group: 'Storage', icon: ShieldAlert },
	quarantined: { words: 'Quarantined', group: 'Storage', icon: OctagonX },

	start: { words: 'Start requested', group: 'Requests', icon: Play },
	stop: { words: 'Stop requested', group: 'Requests', icon: Square },
	restart: { words: 'Restart requested', group: 'Requests', icon: RotateCw },
	kill: { words: 'Kill requested', group: 'Requests', icon: Zap },
	add: { words: 'Add requested', group: 'Requests', icon: Plus },
	promote: { words: 'Promotion requested', group: 'Requests', icon: ChevronsUp },
	transfer: { words: 'Transfer requested', group: 'Requests', icon: ArrowRightLeft },
	decommission: { words: 'Decommission requested', group: 'Requests', icon: Trash2 },
	rolling_restart: { words: 'Rolling restart', group: 'Requests', icon: RefreshCw },
	operation: { words: 'Operation', group: 'Requests', icon: ListChecks },
	sign_in_refused: { words: 'Sign-in refused', group: 'Requests', icon: ShieldAlert }
};

/** The kinds that are known, by group, in the order they are offered. */
export const kindsByGroup: { group: Group; kinds: string[] }[] = GROUPS.map((group) => ({
	group,
	kinds: Object.keys(KINDS).filter((kind) => KINDS[kind]?.group === group)
}));

export function kindIcon(kind: string): Icon {
	return KINDS[kind]?.icon ?? CircleDot;
}

/** `node_back` is "Node back"; a kind that is not known is its own name with spaces. */
export function kindWords(kind: string): string {
	const plain = kind.replaceAll('_', ' ');
	return KINDS[kind]?.words ?? plain.charAt(0).toUpperCase() + plain.slice(1);
}

export function eventTone(kind: string, severity: Severity): Tone {
	if (severity === 'error') return 'crit';
	if (severity === 'warning') return 'warn';
	return KINDS[kind]?.tone ?? 'muted';
}

export const severityWords: Record<Severity, string> = {
	info: 'Info',
	warning: 'Warning',
	error: 'Error'
};

/** Who did it, for people: in the middle of a sentence. */
export function actorWords({ actor }: Pick<Event, 'actor'>): string {
	if (actor === 'api') return 'a caller of the API';
	return actor === 'dashboard' || actor === 'launcher' ? `the ${actor}` : actor;
}

function asked(event: Pick<Event, 'text'>): boolean {
	return event.text.startsWith('asked to ');
}

/** The sentence of an event, with its subject: `asked to stop node2` is what its actor did. */
export function eventText(event: Pick<Event, 'text' | 'actor'>): string {
	const text = asked(event) ? `${actorWords(event)} ${event.text}` : event.text;
	// Names of nodes stay as they are.
	return /^(a|the|operation) /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

/** Whether its sentence leaves open who did it. */
export function namesNoActor(event: Pick<Event, 'text' | 'actor' | 'node'>): boolean {
	return event.actor !== event.node && !asked(event);
}

/** What is written with a time may be a little later or earlier than what it is about. */
const SAME_MS = 2_000;

/**
 * The operation that an event names in its sentence. Numbers of operations begin at 1 with each start
 * of the launcher, so it must also have been under way at that time.
 */
export function operationOf(
	event: Pick<Event, 'text' | 't'>,
	operations: readonly Operation[]
): Operation | null {
	const found = /\boperation (\d+)\b/.exec(event.text);
	const operation = found && operations.find(({ id }) => id === Number(found[1]));
	if (!operation) return null;
	const begun = operation.started - SAME_MS <= event.t;
	const ended = operation.ended !== null && operation.ended + SAME_MS < event.t;
	return begun && !ended ? operation : null;
}
