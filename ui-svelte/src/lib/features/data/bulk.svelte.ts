/** Work on many keys, step by step: each step is whole, and between two of them it can be cancelled. */
import { ApiError } from '$lib/api/client';
import {
	countKeys,
	deleteKey,
	deleteRange,
	getPage,
	keyFields,
	txn,
	valueFields,
	type Entry
} from '$lib/api/kv';
import { intention } from './draft.svelte';
import { Batcher, Lines, parseLine, type Pair } from './jsonl';
import { isConflict, isUnknown } from './problem';
import { successor, type Bytes } from './range';

/** Keys that one step deletes, under one revision. */
const STEP_KEYS = 1_000;
/** How often a step that was refused without harm is sent again. */
const REFUSALS_MAX = 10;

export type Stage = 'ready' | 'running' | 'stuck' | 'done' | 'cancelled' | 'failed';

/** A run of steps. One without an answer waits for its owner to send it again, as the same request. */
export class Steps {
	stage = $state<Stage>('ready');
	error = $state.raw<unknown>(null);
	done = $state(0);
	#cancelled = false;
	#answer: ((again: boolean) => void) | null = null;

	async run(work: () => Promise<void>): Promise<void> {
		this.stage = 'running';
		this.error = null;
		this.#cancelled = false;
		try {
			await work();
			this.stage = this.#cancelled ? 'cancelled' : 'done';
		} catch (error) {
			this.error = error;
			this.stage = 'failed';
		}
	}

	get cancelled(): boolean {
		return this.#cancelled;
	}

	cancel(): void {
		this.#cancelled = true;
		this.#answer?.(false);
	}

	/** Sends the step without an answer once more. */
	again(): void {
		this.#answer?.(true);
	}

	/** Does a step under one idempotency key, however often it is sent. Null: given up. */
	async step<T>(send: (idempotencyKey: string) => Promise<T>): Promise<T | null> {
		const idempotencyKey = intention();
		for (let refusals = 0; ;) {
			try {
				return await send(idempotencyKey);
			} catch (error) {
				if (isUnknown(error)) {
					if (!(await this.#ask(error))) return null;
				} else if (isRefusal(error) && refusals < REFUSALS_MAX && !this.#cancelled) {
					refusals += 1;
					const wait = error.retryAfterMs ?? 1_000;
					await new Promise((resolve) => setTimeout(resolve, wait));
				} else {
					throw error;
				}
			}
		}
	}

	async #ask(error: unknown): Promise<boolean> {
		this.error = error;
		this.stage = 'stuck';
		const again = await new Promise<boolean>((resolve) => (this.#answer = resolve));
		this.#answer = null;
		this.error = null;
		this.stage = 'running';
		return again;
	}
}

/** Whether the same request may simply be sent again: it did nothing, and has only come too early. */
function isRefusal(error: unknown): error is ApiError {
	return (
		error instanceof ApiError &&
		error.retryable &&
		error.outcome === 'not_applied' &&
		(error.code === 'overloaded' || error.code === 'no_leader')
	);
}

/** Deletes all keys with a prefix that are there when it begins. */
export class PrefixDelete {
	readonly steps = new Steps();
	/** How many there are; null: not counted yet. */
	count = $state<number | null>(null);
	countError = $state.raw<unknown>(null);
	/** How many were there after it ended; null: not known. */
	left = $state<number | null>(null);
	deleted = $state(0);
	#revision: number | null = null;

	constructor(readonly prefix: Bytes) {}

	async look(): Promise<void> {
		try {
			const { count, revision } = await countKeys({ prefix: this.prefix });
			this.count = count;
			this.#revision = revision;
		} catch (error) {
			this.countError = error;
		}
	}

	run(): Promise<void> {
		return this.steps.run(async () => {
			let cursor: string | undefined;
			do {
				const { prefix } = this;
				const revision = this.#revision ?? undefined;
				const query = { prefix, revision, cursor, limit: STEP_KEYS, keysOnly: true };
				const page = await getPage(query);
				const [first, last] = [page.items[0], page.items.at(-1)];
				if (first && last) {
					const range = { start: first.key, end: successor(last.key) };
					const done = await this.steps.step((idempotencyKey) =>
						deleteRange(range, { idempotencyKey })
					);
					this.deleted += done?.deleted ?? 0;
				}
				cursor = page.next ?? undefined;
			} while (cursor !== undefined && !this.steps.cancelled);
			this.left = (await countKeys({ prefix: this.prefix })).count;
		});
	}
}

/** Deletes chosen keys, each only if it is still as it was seen. */
export class SelectionDelete {
	readonly steps = new Steps();
	deleted = $state(0);
	/** Keys that were changed or deleted by others since. */
	changed = $state.raw<readonly Bytes[]>([]);

	constructor(readonly entries: readonly Entry[]) {}

	run(): Promise<void> {
		return this.steps.run(async () => {
			for (const entry of this.entries) {
				if (this.steps.cancelled) return;
				try {
					const done = await this.steps.step((idempotencyKey) =>
						deleteKey(entry.key, { ifMatch: entry.mod_revision, idempotencyKey })
					);
					this.deleted += done?.deleted ?? 0;
				} catch (error) {
					if (!isConflict(error)) throw error;
					this.changed = [...this.changed, entry.key];
				}
				this.steps.done += 1;
			}
		});
	}
}

export interface WrongLine {
	readonly line: number;
	readonly reason: string;
}

/** Wrong lines that are named; of the others only the number is. */
const WRONG_LINES_MAX = 100;

/** Writes the pairs of a file of JSON lines, in transactions. */
export class Import {
	readonly steps = new Steps();
	/** Bytes of the file that were looked at, in this pass. */
	readBytes = $state(0);
	pairs = $state(0);
	written = $state(0);
	wrongCount = $state(0);
	wrong = $state.raw<readonly WrongLine[]>([]);
	/** The first line of the transaction that is under way. */
	line = $state(0);
	scanned = $state(false);

	constructor(readonly file: File) {}

	/** Looks through the file, and writes nothing. */
	async scan(): Promise<void> {
		await this.steps.run(async () => {
			await this.#lines((text, number) => {
				const line = parseLine(text);
				if (line.kind === 'pair') this.pairs += 1;
				if (line.kind !== 'wrong') return;
				this.wrongCount += 1;
				if (this.wrong.length < WRONG_LINES_MAX) {
					this.wrong = [...this.wrong, { line: number, reason: line.reason }];
				}
			});
			this.scanned = !this.steps.cancelled;
		});
		if (this.steps.stage === 'done') this.steps.stage = 'ready';
	}

	run(): Promise<void> {
		return this.steps.run(async () => {
			const batcher = new Batcher();
			this.line = 1;
			await this.#lines(async (text, number) => {
				const line = parseLine(text);
				if (line.kind !== 'pair') return;
				const batch = batcher.add(line.pair);
				if (batch === null) return;
				await this.#write(batch);
				this.line = number;
			});
			if (!this.steps.cancelled) await this.#write(batcher.take());
		});
	}

	async #write(batch: readonly Pair[]): Promise<void> {
		if (batch.length === 0) return;
		const success = batch.map(({ key, value }) => ({
			put: { ...keyFields(key), ...valueFields(value) }
		}));
		const done = await this.steps.step((idempotencyKey) =>
			txn({ compare: [], success }, { idempotencyKey })
		);
		if (done !== null) this.written += batch.length;
	}

	async #lines(take: (text: string, number: number) => Promise<void> | void): Promise<void> {
		this.readBytes = 0;
		const lines = new Lines();
		let number = 0;
		const reader = this.file
			.stream()
			.pipeThrough(counting((bytes) => (this.readBytes += bytes)))
			// What is no text becomes U+FFFD, and would be imported as something else: it is refused.
			.pipeThrough(new TextDecoderStream('utf-8', { fatal: true }))
			.getReader();
		try {
			for (;;) {
				const { done, value } = await reader.read();
				for (const text of done ? lines.end() : lines.add(value)) {
					if (this.steps.cancelled) return;
					number += 1;
					await take(text, number);
				}
				if (done) return;
			}
		} finally {
			await reader.cancel().catch(() => {});
		}
	}
}

/** Passes bytes on, and tells how many. */
export function counting(
	tell: (bytes: number) => void
): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
	return new TransformStream({
		transform(part, controller) {
			tell(part.length);
			controller.enqueue(part);
		}
	});
}
