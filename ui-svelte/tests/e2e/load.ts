// Writes, steadily, and what was acknowledged of them.

interface Writable {
	put(key: string, value: string): Promise<void>;
	get(key: string): Promise<string | null>;
}

export class Load {
	/** Keys whose write was acknowledged. */
	readonly acknowledged: string[] = [];
	failed = 0;
	/** The longest time between two acknowledged writes. */
	longestPauseMs = 0;
	private stopped = false;
	private readonly writing: Promise<void>;

	constructor(
		private readonly cluster: Writable,
		private readonly prefix: string,
		perSecond: number
	) {
		this.writing = this.write(1_000 / perSecond);
	}

	private async write(everyMs: number): Promise<void> {
		let last = performance.now();
		for (let number = 0; !this.stopped; number++) {
			const began = performance.now();
			const key = `${this.prefix}${String(number).padStart(6, '0')}`;
			try {
				await this.cluster.put(key, `value of ${key}`);
				this.acknowledged.push(key);
				this.longestPauseMs = Math.max(this.longestPauseMs, performance.now() - last);
				last = performance.now();
			} catch {
				this.failed += 1;
			}
			const rest = everyMs - (performance.now() - began);
			if (rest > 0) await new Promise((done) => setTimeout(done, rest));
		}
	}

	async stop(): Promise<void> {
		this.stopped = true;
		await this.writing;
	}

	/** Keys that were acknowledged and are not there. */
	async lost(): Promise<string[]> {
		const lost: string[] = [];
		for (const key of this.acknowledged) {
			if ((await this.cluster.get(key)) !== `value of ${key}`) lost.push(key);
		}
		return lost;
	}
}
