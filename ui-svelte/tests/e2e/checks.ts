// What every test ends with: no error in the console, no unhandled rejection, no answer that is an
// error, but those that the test expects.

import type { BrowserContext, Page } from '@playwright/test';

/** The launcher is away, or a page is left while it loads. */
const AWAY =
	/net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)/;

export class Checks {
	private readonly faults: string[] = [];
	private readonly statuses: { status: number; path: RegExp }[] = [];
	private readonly sayings: RegExp[] = [];
	private mayBeAway = false;

	/** The test expects answers of this status from paths like this. */
	expectStatus(status: number, path: RegExp): void {
		this.statuses.push({ status, path });
	}

	/** The test expects this in the console. */
	expectConsole(text: RegExp): void {
		this.sayings.push(text);
	}

	/** The test stops the launcher. */
	expectAway(): void {
		this.mayBeAway = true;
	}

	watch(context: BrowserContext): void {
		context.pages().forEach((page) => this.watchPage(page));
		context.on('page', (page) => this.watchPage(page));
		context.on('response', (response) => {
			const [status, { pathname, search }] = [response.status(), new URL(response.url())];
			if (status < 400) return;
			const expected = this.statuses.some(
				(one) => one.status === status && one.path.test(pathname)
			);
			if (!expected) {
				this.faults.push(`${response.request().method()} ${pathname}${search}: ${status}`);
			}
		});
		context.on('requestfailed', (request) => {
			const reason = request.failure()?.errorText ?? '';
			// What a page itself cancels, or leaves behind when it closes, is no failure.
			if (reason === 'net::ERR_ABORTED' || (this.mayBeAway && AWAY.test(reason))) return;
			this.faults.push(`${request.method()} ${request.url()}: ${reason}`);
		});
	}

	/** What went wrong that was not expected. */
	found(): string[] {
		return this.faults;
	}

	private watchPage(page: Page): void {
		// Rejections that nobody handles are told here, too.
		page.on('pageerror', (error) => this.faults.push(`uncaught: ${error.stack ?? error.message}`));
		page.on('console', (message) => {
			const text = message.text();
			if (message.type() !== 'error' && message.type() !== 'warning') return;
			// The browser repeats here what was said of the answer or the failure itself.
			if (text.startsWith('Failed to load resource:') || AWAY.test(text)) return;
			if (this.sayings.some((saying) => saying.test(text))) return;
			this.faults.push(`console ${message.type()}: ${text}`);
		});
	}
}
