/** Searching in the editor: the browser's own finds only what is drawn. */
import { openSearchPanel, searchKeymap } from '@codemirror/search';
import { StateEffect } from '@codemirror/state';
import { keymap, type EditorView } from '@codemirror/view';

const prepared = new WeakSet<EditorView>();

/** Opens the search in `view`. */
export function search(view: EditorView): void {
	if (!prepared.has(view)) {
		prepared.add(view);
		view.dispatch({ effects: StateEffect.appendConfig.of(keymap.of(searchKeymap)) });
	}
	openSearchPanel(view);
}
