/**
 * A value that is being written, and what became of the attempts to save it.
 *
 * Invariants: what was typed is kept whatever the answer is; a save is conditional on what the writer
 * saw; an attempt without an answer is never repeated by itself, and when its writer repeats it, under
 * the same idempotency key, so that it happens once.
 */
import { getKey, putKey, type PutOptions } from '$lib/api/kv';
import { outcomeOf, type Found } from './conflict';
import { hexText, parseHex } from './hex';
import { isConflict, isUnknown } from './problem';
import { asText, utf8, type Bytes } from './range';

export type DraftMode = 'text' | 'hex' | 'file';

/** The key as it is now, when it is not as expected. */
export type Current = (NonNullable<Found> & { readonly version: number }) | null;

export type Saving =
	| { state: 'editing' }
	| { state: 'saving' }
	| { state: 'failed'; error: unknown }
	/** Someone else was there first. */
	| { state: 'conflict'; current: Current }
	/** There was no answer. `checked`: what the last look at the key showed. */
	| { state: 'unknown'; error: unknown; checking: boolean; checked: 'not_written' | null };

export type Draftable = { ok: true; bytes: Bytes } | { ok: false; reason: string };

/** What is sent, kept so that sending it again is the same request. */
interface Attempt {
	readonly value: Bytes;
	readonly options: PutOptions;
	readonly base: number | null;
}

export class Draft {
	mode = $state<DraftMode>('text');
	/** What was typed, as text or as hexadecimal digits. */
	text = $state('');
	file = $state.raw<{ name: string; bytes: Bytes } | null>(null);
	saving = $state.raw<Saving>({ state: 'editing' });
	/** The revision that a save expects; null: that the key is absent. */
	base = $state<number | null>(null);
	#attempt: Attempt | null = null;

	constructor(
		/** The revision of `value`; null: the key is new. */
		base: number | null,
		value: Bytes
	) {
		this.base = base;
		this.show(value);
	}

	/** Begins with `value`, in the form that fits it. */
	show(value: Bytes): void {
		const text = asText(value);
		this.mode = text === null ? 'hex' : 'text';
		this.text = text ?? hexText(value);
		this.file = null;
	}

	/** Goes on in another form, with the same bytes if they have one. */
	turn(mode: DraftMode): void {
		const now = this.bytes();
		if (now.ok && mode === 'text') {
			const text = asText(now.bytes);
			if (text === null) return;
			this.text = text;
		}
		if (now.ok && mode === 'hex') this.text = hexText(now.bytes);
		this.mode = mode;
	}

	/** Whether the bytes can be edited as text. */
	isText(): boolean {
		const now = this.bytes();
		return !now.ok || asText(now.bytes) !== null;
	}

	/** The bytes that would be saved. */
	bytes(): Draftable {
		if (this.mode === 'hex') return parseHex(this.text);
		if (this.mode === 'text') return { ok: true, bytes: utf8(this.text) };
		if (this.file === null) return { ok: false, reason: 'Choose a file.' };
		return { ok: true, bytes: this.file.bytes };
	}

	/** Saves it; returns the revision if that is certain to have happened. */
	async save(key: Bytes): Promise<number | null> {
		const value = this.bytes();
		if (!value.ok) return null;
		const base = this.base;
		const condition: PutOptions = base === null ? { ifNoneMatch: '*' } : { ifMatch: base };
		const options = { ...condition, idempotencyKey: intention() };
		this.#attempt = { value: value.bytes, options, base };
		return this.#send(key);
	}

	/** Saves over the version that got in between. */
	overwrite(key: Bytes, current: Current): Promise<number | null> {
		this.base = current?.modRevision ?? null;
		return this.save(key);
	}

	/** Sends the last attempt once more, as the same request. */
	again(key: Bytes): Promise<number | null> {
		return this.#send(key);
	}

	/** Reads the key, to learn what became of an attempt without an answer. */
	async check(key: Bytes): Promise<number | null> {
		const attempt = this.#attempt;
		const saving = this.saving;
		if (attempt === null || saving.state !== 'unknown') return null;
		this.saving = { ...saving, checking: true };
		try {
			const current = await look(key);
			const outcome = outcomeOf(attempt.base, attempt.value, current);
			if (outcome === 'written') {
				this.saving = { state: 'editing' };
				return current?.modRevision ?? null;
			}
			this.saving =
				outcome === 'changed'
					? { state: 'conflict', current }
					: { ...saving, checking: false, checked: 'not_written' };
		} catch (error) {
			this.saving = { state: 'unknown', error, checking: false, checked: null };
		}
		return null;
	}

	async #send(key: Bytes): Promise<number | null> {
		const attempt = this.#attempt;
		if (attempt === null) return null;
		this.saving = { state: 'saving' };
		try {
			const { revision } = await putKey(key, attempt.value, attempt.options);
			this.saving = { state: 'editing' };
			return revision;
		} catch (error) {
			this.saving = await this.#trouble(key, error);
			return null;
		}
	}

	async #trouble(key: Bytes, error: unknown): Promise<Saving> {
		if (isUnknown(error)) return { state: 'unknown', error, checking: false, checked: null };
		if (!isConflict(error)) return { state: 'failed', error };
		try {
			return { state: 'conflict', current: await look(key) };
		} catch (reason) {
			return { state: 'failed', error: reason };
		}
	}
}

async function look(key: Bytes): Promise<Current> {
	const found = await getKey(key);
	if (found === null) return null;
	const { value, mod_revision, version } = found.entry;
	return { value: value ?? new Uint8Array(), modRevision: mod_revision, version };
}

/** A name for one thing that its writer means to do. */
export function intention(): string {
	// `randomUUID` is there on secure origins only, and a launcher may be on another one.
	const random = crypto.getRandomValues(new Uint8Array(16));
	return `ui-${Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
