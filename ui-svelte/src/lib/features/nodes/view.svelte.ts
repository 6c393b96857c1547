// How the nodes' table is looked at: what is searched for and its order stand in the address, so that
// a link and a reload show the same; which columns are shown is kept in this browser.

import { replaceState } from '$app/navigation';
import { page } from '$app/state';
import type { State } from '$lib/api/types';
import { store, stored } from '$lib/state/stored';
import { COLUMNS, STATE_LABEL, type ColumnId, type Sort } from './table';

const COLUMNS_NAME = 'nodes.columns';

export class NodesView {
	search = $state('');
	state = $state<State | 'all'>('all');
	sort = $state.raw<Sort>({ column: 'node', descending: false });
	#hidden = $state.raw<readonly ColumnId[]>(hiddenColumns());

	constructor(query: URLSearchParams) {
		this.search = query.get('q') ?? '';
		const state = query.get('state') ?? '';
		if (state in STATE_LABEL) this.state = state as State;
		const column = COLUMNS.find(({ id }) => id === query.get('sort'));
		if (column) this.sort = { column: column.id, descending: query.get('dir') === 'desc' };
	}

	readonly columns = $derived(COLUMNS.filter(({ id }) => !this.#hidden.includes(id)));

	shows(id: ColumnId): boolean {
		return !this.#hidden.includes(id);
	}

	show(id: ColumnId, shown: boolean): void {
		const hidden = COLUMNS.filter((column) =>
			column.id === id ? !shown : this.#hidden.includes(column.id)
		).map((column) => column.id);
		this.#hidden = hidden;
		store(COLUMNS_NAME, hidden.join(','));
	}

	/** Whether anything is left out of what is shown. */
	get filters(): boolean {
		return this.search.trim() !== '' || this.state !== 'all';
	}

	/** Writes what is looked at into the address, without a step in the history. */
	toAddress(): void {
		const { column, descending } = this.sort;
		const said: [string, string][] = [];
		if (this.search.trim()) said.push(['q', this.search.trim()]);
		if (this.state !== 'all') said.push(['state', this.state]);
		if (column !== 'node' || descending) {
			said.push(['sort', column], ['dir', descending ? 'desc' : 'asc']);
		}
		const pairs = said.map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
		const search = pairs.length > 0 ? `?${pairs.join('&')}` : '';
		if (search !== location.search) replaceState(`${location.pathname}${search}`, page.state);
	}
}

function hiddenColumns(): ColumnId[] {
	const hidden = stored(COLUMNS_NAME)?.split(',');
	return COLUMNS.filter((column) => hidden?.includes(column.id) ?? !column.shown).map(
		(column) => column.id
	);
}
