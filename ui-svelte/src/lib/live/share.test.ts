import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { share, type Share } from './share';

/** Channels of one name, each of which hears the others, later. */
class Channel {
	static all: Channel[] = [];
	onmessage: ((event: { data: unknown }) => void) | null = null;

	constructor(readonly name: string) {
		Channel.all.push(this);
	}

	postMessage(data: unknown): void {
		const others = Channel.all.filter((other) => other !== this && other.name === this.name);
		for (const other of others) {
			const copy: unknown = structuredClone(data);
			setTimeout(() => Channel.all.includes(other) && other.onmessage?.({ data: copy }));
		}
	}

	close(): void {
		Channel.all = Channel.all.filter((other) => other !== this);
	}
}

/** Locks that one holds at a time, in the order they were asked for. */
class Locks {
	private last = Promise.resolve();

	request(
		_: string,
		{ signal }: { signal: AbortSignal },
		hold: () => Promise<void>
	): Promise<void> {
		const turn = this.last.then(() => (signal.aborted ? undefined : hold()));
		this.last = turn;
		return turn;
	}
}

interface Tab {
	name: string;
	share: Share<string>;
	leads: boolean;
	heard: string[];
	welcome: string | null;
}

function tab(name: string): Tab {
	const made: Tab = {
		name,
		leads: false,
		heard: [],
		welcome: null,
		share: share<string, string>('s', {
			lead: () => {
				made.leads = true;
				return () => (made.leads = false);
			},
			hear: (said) => made.heard.push(said),
			welcome: () => `from ${name}`,
			welcomed: (welcome) => (made.welcome = welcome)
		})
	};
	return made;
}

describe('tabs', () => {
	beforeEach(() => {
		vi.useFakeTimers();
		Channel.all = [];
		vi.stubGlobal('BroadcastChannel', Channel);
		vi.stubGlobal('navigator', { locks: new Locks() });
	});

	afterEach(() => {
		vi.unstubAllGlobals();
		vi.useRealTimers();
	});

	const settle = () => vi.advanceTimersByTimeAsync(10);

	it('have one that reads for all of them', async () => {
		const tabs = ['a', 'b', 'c'].map(tab);
		await settle();
		expect(tabs.map(({ leads }) => leads)).toEqual([true, false, false]);
		tabs.forEach((each) => each.share.tell(`said by ${each.name}`));
		await settle();
		expect(tabs.map(({ heard }) => heard)).toEqual([[], ['said by a'], ['said by a']]);
	});

	it('tell one that has just come what it needs, and only that one', async () => {
		const first = tab('a');
		await settle();
		const second = tab('b');
		await settle();
		const third = tab('c');
		await settle();
		expect([first, second, third].map(({ welcome }) => welcome)).toEqual([
			null,
			'from a',
			'from a'
		]);
		second.welcome = null;
		third.welcome = null;
		await vi.advanceTimersByTimeAsync(1_000);
		third.share.ask();
		third.share.ask();
		await settle();
		expect([second.welcome, third.welcome]).toEqual([null, 'from a']);
	});

	it('pass the reading on when the one that reads leaves, to the next that is still there', async () => {
		const [a, b, c] = ['a', 'b', 'c'].map(tab) as [Tab, Tab, Tab];
		await settle();
		b.share.leave();
		a.share.leave();
		a.share.leave();
		await settle();
		expect([a.leads, b.leads, c.leads]).toEqual([false, false, true]);
		const d = tab('d');
		await settle();
		expect(d.welcome).toBe('from c');
	});

	it.each([
		['locks', () => vi.stubGlobal('navigator', {})],
		['a channel', () => vi.stubGlobal('BroadcastChannel', undefined)]
	])('read each for themselves without %s', (_, lack) => {
		lack();
		const ends = ['a', 'b'].map((name) => {
			const end = vi.fn();
			const lead = vi.fn(() => end);
			const nothing = () => undefined;
			const made = share(name, { lead, hear: nothing, welcome: () => null, welcomed: nothing });
			expect(lead).toHaveBeenCalledTimes(1);
			made.tell('x');
			made.ask();
			made.leave();
			return end;
		});
		for (const end of ends) expect(end).toHaveBeenCalledTimes(1);
	});
});
