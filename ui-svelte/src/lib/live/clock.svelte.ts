/** The time, ticking once a second. */
class Clock {
	now = $state(Date.now());

	constructor() {
		setInterval(() => (this.now = Date.now()), 1000);
	}
}

export const clock = new Clock();
