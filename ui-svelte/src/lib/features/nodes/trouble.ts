// What is wrong with a node, told apart: a process that is silent is not one that has ended. Pure.

import type { Node } from '$lib/api/types';
import { age } from '$lib/format/duration';

export interface Trouble {
	tone: 'warn' | 'crit';
	/** What is the matter, in a sentence without a full stop. */
	text: string;
	/** What comes next, or what to do. */
	next: string | null;
	/** The last lines of the process that ended; empty where it has not. */
	lines: readonly string[];
}

/** What is wrong with a node now; null where nothing is, or where it was told to be as it is. */
export function troubleOf(node: Node, now: number): Trouble | null {
	switch (node.state) {
		case 'crashed':
			return {
				tone: 'crit',
				text: ended(node),
				next: comesBack(node, now),
				lines: node.exit?.lines ?? []
			};
		case 'starting':
			if (node.failures === 0) return node.trouble ? wrong('warn', node.trouble) : null;
			return {
				tone: 'warn',
				text: `Starting again, after its process ${exitWords(node)}`,
				next: node.failures > 1 ? `It has ended ${node.failures} times in a row` : null,
				lines: node.exit?.lines ?? []
			};
		case 'unhealthy':
			if (node.role !== null) return wrong('warn', node.trouble ?? 'It answers, and cannot serve');
			return {
				tone: 'crit',
				text: `Process is running but not answering${process(node)}`,
				next: node.trouble,
				lines: []
			};
		case 'removed':
			return wrong('warn', 'The cluster has removed it: it does not start again');
		default:
			return node.trouble ? wrong('warn', node.trouble) : null;
	}
}

function wrong(tone: Trouble['tone'], text: string): Trouble {
	return { tone, text, next: null, lines: [] };
}

function process(node: Node): string {
	return node.pid === null ? '' : ` (process ${node.pid})`;
}

function exitWords({ exit }: Node): string {
	if (!exit) return 'ended';
	return exit.code === null ? exit.text : `exited (code ${exit.code})`;
}

function ended(node: Node): string {
	const { exit, trouble } = node;
	const text = `Process ${exitWords(node)}`;
	if (!trouble || trouble === exit?.text) return text;
	// The launcher puts the exit before the last line, which is all that is left to say.
	const rest = exit ? trouble.replace(`${exit.text}: `, '') : trouble;
	return `${text}: ${rest}`;
}

function comesBack(node: Node, now: number): string {
	const often = node.failures > 1 ? `, ended ${node.failures} times in a row` : '';
	if (node.next_start === null) return `It stays down until somebody starts it${often}`;
	return `It starts again in ${age(Math.max(0, node.next_start - now))}${often}`;
}
