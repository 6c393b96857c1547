/** What to say of a request for data that failed. */
import { ApiError } from '$lib/api/client';
import { bytes } from '$lib/format/bytes';
import { count } from '$lib/format/count';

export interface Told {
	readonly title: string;
	readonly text: string;
}

const number = (value: unknown) => (typeof value === 'number' ? value : null);

/** Says why `what` (`The key was not saved`) in a title and a sentence. */
export function told(error: unknown, what: string): Told {
	if (!(error instanceof ApiError)) return { title: what, text: String(error) };
	const { code, details, message } = error;
	const limit = number(details['limit']);
	switch (code) {
		case 'no_quorum':
			return { title: `${what}: no quorum`, text: sentence(message) };
		case 'no_leader':
			return { title: `${what}: there is no leader`, text: sentence(message) };
		case 'too_large': {
			const got = number(details['got']);
			if (limit === null) return { title: `${what}: too large`, text: sentence(message) };
			const thing = typeof details['what'] === 'string' ? details['what'] : 'request';
			const size = got === null ? 'is over' : `has ${count(got)} bytes, over`;
			const text = `The ${thing} ${size} the limit of ${count(limit)} bytes (${bytes(limit)}).`;
			return { title: `${what}: too large`, text };
		}
		case 'compacted':
			return { title: `${what}: that past is gone`, text: sentence(message) };
		case 'disk_full':
			return { title: `${what}: the disk is full`, text: sentence(message) };
		default:
			return { title: what, text: sentence(message) };
	}
}

/** Whether nobody knows if the change was made. */
export function isUnknown(error: unknown): boolean {
	return error instanceof ApiError && error.outcome === 'unknown';
}

/** Whether the key was not what the request expected. */
export function isConflict(error: unknown): boolean {
	return error instanceof ApiError && error.code === 'precondition_failed';
}

/** Whether the request was given up by this page itself. */
export function isAborted(error: unknown): boolean {
	return error instanceof DOMException && error.name === 'AbortError';
}

function sentence(message: string): string {
	const first = message.charAt(0).toUpperCase() + message.slice(1);
	return /[.!?]$/.test(first) ? first : `${first}.`;
}
