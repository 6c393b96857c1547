/** The editor, which is large and therefore loaded only when something is edited. */
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { json } from '@codemirror/lang-json';
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search';
import { EditorState, type Extension } from '@codemirror/state';
import {
	EditorView,
	drawSelection,
	highlightSpecialChars,
	keymap,
	lineNumbers
} from '@codemirror/view';
import { unifiedMergeView } from '@codemirror/merge';
import { tags } from '@lezer/highlight';

const theme = EditorView.theme({
	'&': { height: '100%', backgroundColor: 'var(--surface)', color: 'var(--text)' },
	// What it lies in is outlined: the column of numbers would cover a part of its own.
	'&.cm-focused': { outline: 'none' },
	'.cm-scroller': {
		fontFamily: 'var(--font-mono, ui-monospace, monospace)',
		fontSize: '0.75rem',
		lineHeight: '1.25rem'
	},
	'.cm-content': { caretColor: 'var(--accent)' },
	'.cm-cursor': { borderLeftColor: 'var(--accent)' },
	'.cm-gutters': {
		backgroundColor: 'var(--surface)',
		color: 'var(--text-3)',
		border: 'none'
	},
	'.cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground':
		{ backgroundColor: 'var(--accent-soft)' },
	'.cm-panels': { backgroundColor: 'var(--inset)', color: 'var(--text)' },
	'.cm-specialChar': { color: 'var(--crit)' },
	'&.cm-merge-b .cm-changedLine, .cm-changedLine, .cm-inlineChangedLine': {
		backgroundColor: 'var(--ok-soft)'
	},
	'&.cm-merge-b .cm-changedText, .cm-changedText': {
		background: 'none',
		textDecoration: 'underline 2px var(--ok)'
	},
	'.cm-deletedChunk': { backgroundColor: 'var(--crit-soft)' },
	'.cm-deletedChunk .cm-deletedText': {
		background: 'none',
		textDecoration: 'underline 2px var(--crit)'
	}
});

const colours = syntaxHighlighting(
	HighlightStyle.define([
		{ tag: tags.string, color: 'var(--ok)' },
		{ tag: tags.number, color: 'var(--warn)' },
		{ tag: [tags.bool, tags.null], color: 'var(--accent)' },
		{ tag: tags.propertyName, color: 'var(--text)' }
	])
);

function common(label: string, isJson: boolean): Extension[] {
	return [
		// Without it, line breaks of other systems would be changed to this one by opening the editor.
		EditorState.lineSeparator.of('\n'),
		theme,
		colours,
		lineNumbers(),
		highlightSpecialChars(),
		drawSelection(),
		EditorView.lineWrapping,
		EditorView.contentAttributes.of({ 'aria-label': label }),
		isJson ? json() : []
	];
}

export interface EditorOptions {
	readonly parent: HTMLElement;
	readonly text: string;
	readonly json: boolean;
	readonly label: string;
	readonly onchange: (text: string) => void;
	readonly onsave: () => void;
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
			highlightSelectionMatches(),
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
				...defaultKeymap,
				...historyKeymap,
				...searchKeymap
			]),
			EditorView.updateListener.of((update) => {
				if (update.docChanged) onchange(update.state.doc.toString());
			})
		]
	});
}

/** Shows in `parent` what `mine` changes in `theirs`. */
export function compareTexts(
	parent: HTMLElement,
	theirs: string,
	mine: string,
	isJson: boolean
): EditorView {
	return new EditorView({
		parent,
		doc: mine,
		extensions: [
			...common('Difference', isJson),
			EditorState.readOnly.of(true),
			unifiedMergeView({ original: theirs, mergeControls: false, gutter: true })
		]
	});
}
