/** The keys of a prefix as JSON lines, streamed: the browser keeps them on its disk, not in memory. */
import { countKeys, exportLines } from '$lib/api/kv';
import type { Read } from './address';
import { Steps } from './bulk.svelte';
import { consistencyOf } from './list.svelte';
import type { Bytes } from './range';

const LINE_BREAK = 0x0a;

export class Export {
	readonly steps = new Steps();
	/** How many keys there are; null: not known. */
	count = $state<number | null>(null);
	lines = $state(0);
	bytes = $state(0);
	revision = $state<number | null>(null);
	#stop = new AbortController();

	constructor(
		readonly prefix: Bytes,
		readonly read: Read
	) {}

	async look(): Promise<void> {
		try {
			const query = { prefix: this.prefix, consistency: consistencyOf(this.read) };
			this.count = (await countKeys(query)).count;
		} catch {
			// Only how far it has come cannot be told then.
			this.count = null;
		}
	}

	/** Reads all of it; null: it failed, or was cancelled. */
	async run(): Promise<Blob | null> {
		let file: Blob | null = null;
		await this.steps.run(async () => {
			const query = { prefix: this.prefix, consistency: consistencyOf(this.read) };
			const { body, read } = await exportLines(query, this.#stop.signal);
			this.revision = read.revision;
			const told = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
				transform: (part, controller) => {
					if (this.steps.cancelled) return controller.terminate();
					for (const byte of part) if (byte === LINE_BREAK) this.lines += 1;
					this.bytes += part.length;
					controller.enqueue(part);
				}
			});
			file = await new Response(body.pipeThrough(told)).blob();
		});
		return this.steps.stage === 'done' ? file : null;
	}
}
