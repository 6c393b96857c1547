/** The prefixes of the keys, split on a delimiter; each level is asked for when it is opened. */
import { prefixes, type Child } from '$lib/api/kv';
import type { Read } from './address';
import { consistencyOf } from './list.svelte';
import { isAborted } from './problem';
import { keyId, startsWith, utf8, type Bytes } from './range';

/** Keys and prefixes of one level that are looked at in one go. */
const LEVEL_ROWS = 1_000;

/** A prefix, and what lies below it once it was opened. */
export class Branch {
	open = $state(false);
	loading = $state(false);
	error = $state.raw<unknown>(null);
	children = $state.raw<readonly Branch[]>([]);
	/** Where looking at this level goes on; null: all of it was seen. */
	next = $state.raw<string | null>(null);
	/** The revision of its children; null: they were not asked for yet. */
	revision = $state.raw<number | null>(null);
	/** How many keys and prefixes of this level were looked at. */
	seen = $state(0);

	readonly id: string;

	constructor(
		readonly prefix: Bytes,
		/** How many keys it holds; null: the root, which is not counted here. */
		readonly child: Child | null,
		/** The prefix it lies in. */
		readonly parent: Branch | null
	) {
		this.id = keyId(prefix);
	}
}

export class PrefixTree {
	delimiter = $state('/');
	root = $state.raw(new Branch(new Uint8Array(), null, null));
	#read: Read = 'linearizable';
	#asked = new AbortController();

	/** Reads the first level anew, and the levels that were open. */
	async refresh(read: Read): Promise<void> {
		this.#asked.abort();
		this.#asked = new AbortController();
		this.#read = read;
		const open = openPrefixes(this.root);
		const root = new Branch(new Uint8Array(), null, null);
		root.open = true;
		await this.#load(root);
		await this.#reopen(root, open);
		// Shown only when it is whole, so that nothing jumps.
		this.root = root;
	}

	split(delimiter: string): void {
		this.delimiter = delimiter;
		this.root = new Branch(new Uint8Array(), null, null);
		void this.refresh(this.#read);
	}

	async toggle(branch: Branch, open = !branch.open): Promise<void> {
		branch.open = open;
		if (open && branch.revision === null && !branch.loading) await this.#load(branch);
	}

	/** Looks at more keys of a level whose prefixes may not all have been seen. */
	more(branch: Branch): Promise<void> {
		return this.#load(branch);
	}

	async #reopen(branch: Branch, open: readonly string[]): Promise<void> {
		for (const child of branch.children) {
			if (!open.includes(child.id)) continue;
			child.open = true;
			await this.#load(child);
			await this.#reopen(child, open);
		}
	}

	async #load(branch: Branch): Promise<void> {
		const signal = this.#asked.signal;
		branch.loading = true;
		branch.error = null;
		try {
			const page = await prefixes(
				{
					prefix: branch.prefix,
					delimiter: utf8(this.delimiter),
					limit: LEVEL_ROWS,
					keysOnly: true,
					cursor: branch.next ?? undefined,
					consistency: consistencyOf(this.#read)
				},
				signal
			);
			const found = page.children.map((child) => new Branch(child.prefix, child, branch));
			branch.children = [...branch.children, ...found];
			branch.next = page.next;
			branch.seen += page.children.length + page.items.length;
			branch.revision = page.revision;
		} catch (error) {
			if (!signal.aborted && !isAborted(error)) branch.error = error;
		} finally {
			branch.loading = false;
		}
	}
}

/** The ids of the branches that are open, with all that lies below them. */
function openPrefixes(branch: Branch): string[] {
	const open = branch.children.filter((child) => child.open);
	return open.flatMap((child) => [child.id, ...openPrefixes(child)]);
}

/** The branches that are in view, in order, with their depth. */
export function branchesInView(branch: Branch, depth = 0): { branch: Branch; depth: number }[] {
	return branch.children.flatMap((child) => [
		{ branch: child, depth },
		...(child.open ? branchesInView(child, depth + 1) : [])
	]);
}

/** What of a prefix its own level adds to the one above. */
export function ownPart(branch: Branch): Bytes {
	const above = branch.parent?.prefix ?? new Uint8Array();
	return startsWith(branch.prefix, above) ? branch.prefix.subarray(above.length) : branch.prefix;
}
