// Where a tooltip or a menu goes: beside its trigger, inside the window.

export type Box = { left: number; top: number; width: number; height: number };
type Size = { width: number; height: number };

const MARGIN = 8;

/** The place below `anchor` (above it if there is no room), its left or right edge flush with it. */
export function place(
	anchor: Box,
	size: Size,
	view: Size,
	align: 'start' | 'center' | 'end',
	gap = 4
): { left: number; top: number } {
	const spare = anchor.width - size.width;
	const shift = align === 'start' ? 0 : align === 'end' ? spare : spare / 2;
	const left = Math.max(MARGIN, Math.min(anchor.left + shift, view.width - size.width - MARGIN));
	const below = anchor.top + anchor.height + gap;
	const above = anchor.top - gap - size.height;
	const fits = below + size.height <= view.height - MARGIN;
	return { left, top: fits || above < MARGIN ? below : above };
}

/** Puts a shown popover beside its trigger. */
export function placeBeside(
	popover: HTMLElement,
	anchor: Element,
	align: 'start' | 'center' | 'end',
	gap?: number
): void {
	const view = { width: document.documentElement.clientWidth, height: window.innerHeight };
	const box = anchor.getBoundingClientRect();
	const { left, top } = place(box, popover.getBoundingClientRect(), view, align, gap);
	popover.style.left = `${left}px`;
	popover.style.top = `${top}px`;
}
