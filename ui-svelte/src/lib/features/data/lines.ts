/** Text in rows that fit, so that a value of one long line is no heavier than one of many. */

export interface Row {
	/** The number of the line; null: it goes on from the row before. */
	readonly line: number | null;
	readonly text: string;
}

export function rowsOf(text: string, columns: number): Row[] {
	const rows: Row[] = [];
	for (const [i, line] of text.split('\n').entries()) {
		let from = 0;
		do {
			let to = Math.min(line.length, from + columns);
			// A pair of surrogates is one character: it stays whole.
			const last = line.charCodeAt(to - 1);
			if (to < line.length && last >= 0xd800 && last < 0xdc00) to -= 1;
			rows.push({ line: from === 0 ? i + 1 : null, text: line.slice(from, to) });
			from = to;
		} while (from < line.length);
	}
	return rows;
}
