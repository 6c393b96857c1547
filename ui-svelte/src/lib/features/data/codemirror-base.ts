/** What the editor and the view of differences have in common. */
import { json } from '@codemirror/lang-json';
import { HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { EditorState, type Extension } from '@codemirror/state';
import { EditorView, drawSelection, highlightSpecialChars, lineNumbers } from '@codemirror/view';
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

export function common(label: string, isJson: boolean): Extension[] {
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
