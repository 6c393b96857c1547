// Takes a line of a node's log apart for reading: where it came from, what it says, its fields.
// Nodes write `2026-01-02T03:04:05.678901Z  INFO target: message key=value`, or the same as an object
// of JSON. Anything else, such as a panic, is a message as it stands.

export interface Parts {
	target: string | null;
	message: string;
	fields: [name: string, value: string][];
}

const PREFIX = /^\d{4}-\d\d-\d\dT[\d:.]+Z\s+(?:TRACE|DEBUG|INFO|WARN|ERROR)\s+/;
const TARGET = /^([A-Za-z_]\w*(?:::\w+)*): /;
const FIELD = /\s([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|[^\s"]\S*)$/;

/** A line never has more; beyond it is left in the message. */
const FIELDS_MAX = 32;

export function readLine(text: string): Parts {
	return (text.startsWith('{') && ofObject(text)) || ofText(text);
}

function ofText(text: string): Parts {
	const prefix = PREFIX.exec(text);
	if (!prefix) return { target: null, message: text, fields: [] };
	let message = text.slice(prefix[0].length);
	const target = TARGET.exec(message);
	if (target) message = message.slice(target[0].length);
	const fields: Parts['fields'] = [];
	// From the end, since a message may itself have something like a field in it.
	for (let field = FIELD.exec(message); field && fields.length < FIELDS_MAX;) {
		fields.unshift([field[1] ?? '', unquote(field[2] ?? '')]);
		message = message.slice(0, field.index);
		field = FIELD.exec(message);
	}
	return { target: target?.[1] ?? null, message, fields };
}

/** Takes the quotes off where nothing is lost by it. */
function unquote(value: string): string {
	return /^"[^"\\\s]+"$/.test(value) ? value.slice(1, -1) : value;
}

function ofObject(text: string): Parts | null {
	let object: unknown;
	try {
		object = JSON.parse(text);
	} catch {
		return null;
	}
	if (!isRecord(object)) return null;
	const { timestamp, level, target, fields, message, ...rest } = object;
	// Without a time or a level it is no line of a log, but something that was printed.
	if (typeof timestamp !== 'string' && typeof level !== 'string') return null;
	const named = isRecord(fields) ? { ...fields, ...rest } : rest;
	const { message: said = message, ...others } = named as Record<string, unknown>;
	return {
		target: typeof target === 'string' ? target : null,
		message: said === undefined ? '' : words(said),
		fields: Object.entries(others).map(([name, value]) => [name, words(value)])
	};
}

function isRecord(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function words(value: unknown): string {
	return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Text in pieces, those that match the search marked; upper and lower case are the same. */
export function highlight(text: string, search: string): { text: string; hit: boolean }[] {
	if (search === '') return [{ text, hit: false }];
	const [low, wanted] = [text.toLowerCase(), search.toLowerCase()];
	// Some letters change their length in lower case; then places in one are not places in the other.
	if (low.length !== text.length) return [{ text, hit: false }];
	const pieces: { text: string; hit: boolean }[] = [];
	let from = 0;
	for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
		if (at > from) pieces.push({ text: text.slice(from, at), hit: false });
		from = at + wanted.length;
		pieces.push({ text: text.slice(at, from), hit: true });
	}
	if (from < text.length) pieces.push({ text: text.slice(from), hit: false });
	return pieces;
}

const TWO = new Intl.NumberFormat('en', { minimumIntegerDigits: 2, useGrouping: false });
const THREE = new Intl.NumberFormat('en', { minimumIntegerDigits: 3, useGrouping: false });

/** `14:30:21.042`: within a log a second is long. */
export function lineTime(ms: number): string {
	const at = new Date(ms);
	const parts = [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => TWO.format(part));
	return `${parts.join(':')}.${THREE.format(at.getMilliseconds())}`;
}
