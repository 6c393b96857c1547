// The launcher's time, ticking once a second: what ages are counted from.

class Clock {
	#now = $state(Date.now());
	#aheadMs = 0;
	#running = 0;
	#timer: ReturnType<typeof setInterval> | undefined;

	/** Milliseconds since 1970 by the launcher's clock. */
	get now(): number {
		return this.#now;
	}

	/** How far the launcher's clock is ahead of the browser's. */
	set aheadMs(ms: number) {
		if (ms === this.#aheadMs) return;
		this.#aheadMs = ms;
		this.#tick();
	}

	start(): () => void {
		this.#running += 1;
		this.#timer ??= setInterval(() => this.#tick(), 1_000);
		this.#tick();
		return () => {
			this.#running -= 1;
			if (this.#running > 0) return;
			clearInterval(this.#timer);
			this.#timer = undefined;
		};
	}

	#tick(): void {
		this.#now = Date.now() + this.#aheadMs;
	}
}

export const clock = new Clock();
