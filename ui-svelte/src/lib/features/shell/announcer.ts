// What is said to screen readers: at most one message in five seconds, the latest of those that
// waited. The loss of the quorum does not pass here: its banner is an alert.

export const APART_MS = 5_000;

export class Announcer {
	#say: (text: string) => void;
	#last = -Infinity;
	#waiting: string | null = null;
	#timer: ReturnType<typeof setTimeout> | undefined;

	constructor(say: (text: string) => void) {
		this.#say = say;
	}

	announce(text: string): void {
		this.#waiting = text;
		this.#timer ??= setTimeout(() => this.#next(), Math.max(0, this.#last + APART_MS - Date.now()));
	}

	stop(): void {
		clearTimeout(this.#timer);
		this.#timer = undefined;
	}

	#next(): void {
		this.#timer = undefined;
		if (this.#waiting === null) return;
		this.#last = Date.now();
		this.#say(this.#waiting);
		this.#waiting = null;
	}
}
