/** The view of differences, loaded only when values are compared. */
import { unifiedMergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { common } from './codemirror-base';

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
