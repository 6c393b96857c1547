/** The editor, which is large and therefore loaded only when something is edited. */
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { bracketMatching } from '@codemirror/language';
import { EditorView, keymap } from '@codemirror/view';
import { common } from './codemirror-base';

export interface EditorOptions {
	readonly parent: HTMLElement;
	readonly text: string;
	readonly json: boolean;
	readonly label: string;
	readonly onchange: (text: string) => void;
	readonly onsave: () => void;
}

/** Searching comes when it is asked for; should it not come, the text is there all the same. */
async function search(view: EditorView): Promise<void> {
	const found = await import('./codemirror-search').catch(() => null);
	found?.search(view);
}

/** Puts an editor into `parent`. */
export function edit(options: EditorOptions): EditorView {
	const { parent, text, label, onchange, onsave } = options;
	return new EditorView({
		parent,
		doc: text,
		extensions: [
			...common(label, options.json),
			history(),
			bracketMatching(),
			// Tab is not among them: it leads out of the editor, as out of any field.
			keymap.of([
				{
					key: 'Mod-s',
					preventDefault: true,
					run: () => {
						onsave();
						return true;
					}
				},
				{
					key: 'Mod-f',
					preventDefault: true,
					run: (view) => {
						void search(view);
						return true;
					}
				},
				...defaultKeymap,
				...historyKeymap
			]),
			EditorView.updateListener.of((update) => {
				if (update.docChanged) onchange(update.state.doc.toString());
			})
		]
	});
}
