export type ToastTone = 'ok' | 'info' | 'warn' | 'crit';

export type Toast = {
	tone: ToastTone;
	title: string;
	text?: string | undefined;
	/** Where more of it is. */
	href?: string | undefined;
	action?: { label: string; run: () => void } | undefined;
	/** When it goes by itself; null: only when it is closed, as errors do. */
	timeoutMs?: number | null | undefined;
};

export type ShownToast = Toast & { id: number };

const TIMEOUT_MS = 6_000;
/** More than these would cover the page; the oldest makes room. */
const SHOWN_MAX = 5;

export class Toasts {
	list = $state.raw<readonly ShownToast[]>([]);
	#last = 0;

	/** Shows one, and returns its id for `remove`. */
	add(toast: Toast): number {
		this.#last += 1;
		this.list = [...this.list, { ...toast, id: this.#last }].slice(-SHOWN_MAX);
		return this.#last;
	}

	remove(id: number): void {
		this.list = this.list.filter((toast) => toast.id !== id);
	}

	timeout(toast: Toast): number | null {
		if (toast.timeoutMs !== undefined) return toast.timeoutMs;
		return toast.tone === 'crit' ? null : TIMEOUT_MS;
	}
}

export const toasts = new Toasts();
