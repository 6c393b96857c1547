// Where rows are in a list that is longer than a browser's elements may be tall.
//
// The list is `rows * rowHeight` pixels long (virtual), its element at most `TALLEST` (physical).
// Both ends map one to one, so that the first and the last rows scroll as in any other list; only
// the middle is squeezed. Short scrolls are one to one everywhere: they drift away from the map, and
// the drift is taken back when scrolling ends (`settle`).

/** Below every browser's limit (Firefox 17.8 M, Chromium 33.5 M). */
export const TALLEST = 15_000_000;
const END = 100_000;
/** How much drift may gather before it is taken back at once. */
const DRIFT_MAX = 20_000;

export type Extent = { length: number; view: number };
export type Place = { top: number; scrollTop: number };

const clamp = (n: number, max: number) => Math.max(0, Math.min(n, max));

/** How tall the element is. */
export function physical(length: number): number {
	return Math.min(length, TALLEST);
}

const farthest = ({ length, view }: Extent) => Math.max(0, length - view);

/** Where in the list the element's `scrollTop` is. */
export function toTop(scrollTop: number, extent: Extent): number {
	const to = farthest(extent);
	const from = Math.max(0, physical(extent.length) - extent.view);
	if (to === from || scrollTop <= END) return clamp(scrollTop, to);
	if (scrollTop >= from - END) return clamp(to - (from - scrollTop), to);
	return END + ((scrollTop - END) * (to - 2 * END)) / (from - 2 * END);
}

/** The inverse of `toTop`. */
export function toScrollTop(top: number, extent: Extent): number {
	const to = farthest(extent);
	const from = Math.max(0, physical(extent.length) - extent.view);
	if (to === from || top <= END) return clamp(top, from);
	if (top >= to - END) return clamp(from - (to - top), from);
	return END + ((top - END) * (from - 2 * END)) / (to - 2 * END);
}

/** Where the list is after its element was scrolled from `last` to `scrollTop`. */
export function scrolled(last: Place, scrollTop: number, extent: Extent): Place {
	const moved = scrollTop - last.scrollTop;
	const exact = toTop(scrollTop, extent);
	// A jump (the scrollbar was dragged, Home, End) goes by the map.
	if (extent.length <= TALLEST || Math.abs(moved) > 2 * extent.view) {
		return { top: exact, scrollTop };
	}
	const top = clamp(last.top + moved, farthest(extent));
	const place = { top, scrollTop };
	const drift = Math.abs(toScrollTop(top, extent) - scrollTop);
	// Within an end nothing drifts any more: what is left of it would end the way too early.
	const inEnd = top < END || top > farthest(extent) - END;
	return drift > (inEnd ? 1 : DRIFT_MAX) ? settle(place, extent) : place;
}

/** Takes the drift back: the same rows, at the element's place for them. */
export function settle({ top }: Place, extent: Extent): Place {
	return { top, scrollTop: toScrollTop(top, extent) };
}

/** The rows to draw, from and up to but without, with `spare` rows beyond either edge. */
export function rows(
	top: number,
	view: number,
	rowHeight: number,
	total: number,
	spare = 6
): { from: number; to: number } {
	const from = clamp(Math.floor(top / rowHeight) - spare, total);
	const to = clamp(Math.ceil((top + view) / rowHeight) + spare, total);
	return { from, to };
}

/** Where the list has to be for row `at` to be seen, moved no farther than needed. */
export function reveal(
	at: number,
	top: number,
	rowHeight: number,
	extent: Extent,
	align: 'nearest' | 'start' | 'end' = 'nearest'
): number {
	const first = at * rowHeight;
	const last = first + rowHeight - extent.view;
	const to =
		align === 'start' ? first : align === 'end' ? last : Math.min(Math.max(top, last), first);
	return clamp(to, farthest(extent));
}
