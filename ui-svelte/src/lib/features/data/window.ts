/**
 * The part of a long list that is kept: some pages in a row, of which the far ones are dropped.
 *
 * A page has no position, only neighbours: it knows the key it begins and ends with, and whether there
 * is more beyond it. How many rows lie before it is known only when the way there began at an end.
 */

/** Rows asked for at once. */
export const PAGE_ROWS = 200;
/** Pages that are kept. */
export const PAGES_MAX = 10;

export interface Window<T> {
	readonly pages: readonly (readonly T[])[];
	/** Whether nothing comes before the first row. */
	readonly atStart: boolean;
	/** Whether nothing comes after the last row. */
	readonly atEnd: boolean;
	/** How many rows come before the first one; null: nobody knows. */
	readonly offset: number | null;
}

/** By so many rows those that stay have moved. */
export interface Moved<T> {
	readonly window: Window<T>;
	readonly shift: number;
}

export function begin<T>(rows: readonly T[], atStart: boolean, atEnd: boolean): Window<T> {
	return { pages: rows.length === 0 ? [] : [rows], atStart, atEnd, offset: atStart ? 0 : null };
}

export function rowsIn<T>(window: Window<T>): number {
	return window.pages.reduce((rows, page) => rows + page.length, 0);
}

/** Adds `rows` behind the last ones; the first page goes when there are too many. */
export function append<T>(window: Window<T>, rows: readonly T[], atEnd: boolean): Moved<T> {
	if (rows.length === 0) return { window: { ...window, atEnd }, shift: 0 };
	const pages = [...window.pages, rows];
	if (pages.length <= PAGES_MAX) return { window: { ...window, pages, atEnd }, shift: 0 };
	const dropped = pages.shift()?.length ?? 0;
	const offset = window.offset === null ? null : window.offset + dropped;
	return { window: { pages, atStart: false, atEnd, offset }, shift: -dropped };
}

/** Adds `rows` before the first ones; the last page goes when there are too many. */
export function prepend<T>(window: Window<T>, rows: readonly T[], atStart: boolean): Moved<T> {
	const before = window.offset === null ? null : window.offset - rows.length;
	const offset = atStart ? 0 : before;
	if (rows.length === 0) return { window: { ...window, atStart, offset }, shift: 0 };
	const pages = [rows, ...window.pages];
	const tooMany = pages.length > PAGES_MAX;
	if (tooMany) pages.pop();
	const atEnd = window.atEnd && !tooMany;
	return { window: { pages, atStart, atEnd, offset }, shift: rows.length };
}

/** Knows, now that there are `total` rows, where a window is that ends with the last of them. */
export function located<T>(window: Window<T>, total: number): Window<T> {
	if (window.offset !== null || !window.atEnd) return window;
	return { ...window, offset: total - rowsIn(window) };
}

/** The rows to draw: those in view and some beyond, as `[first, last)`. */
export function visible(
	scrollTop: number,
	height: number,
	rowHeight: number,
	count: number,
	beyond: number
): [first: number, last: number] {
	const top = Math.floor(Math.max(0, scrollTop) / rowHeight);
	const shown = Math.ceil(Math.max(0, height) / rowHeight) + 1;
	const last = Math.min(count, top + shown + beyond);
	return [Math.max(0, Math.min(top - beyond, last)), last];
}
