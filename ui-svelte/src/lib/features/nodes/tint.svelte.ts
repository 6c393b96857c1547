import type { Attachment } from 'svelte/attachments';

/** Tints a row for a moment whenever `what` changes, so that the eye finds it. */
export function tintOn(what: () => string): Attachment<HTMLElement> {
	return (row) => {
		let shown: string | null = null;
		$effect(() => {
			const now = what();
			if (shown !== null && shown !== now && !still()) {
				row.animate([{ backgroundColor: 'var(--accent-soft)' }, {}], { duration: 600 });
			}
			shown = now;
		});
	};
}

function still(): boolean {
	return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
