/** What to say of a write that met another one, or that got no answer. */
import { hexText } from './hex';
import { asText, equal } from './range';

/** A value as it was found, by the revision that stored it; null: the key is absent. */
export type Found = { readonly value: Uint8Array; readonly modRevision: number } | null;

/** What became of a write of `mine` over `base` whose answer was lost, now that `found` is there. */
export function outcomeOf(
	base: number | null,
	mine: Uint8Array,
	found: Found
): 'written' | 'not_written' | 'changed' {
	if ((found?.modRevision ?? null) === base) return 'not_written';
	return found !== null && equal(found.value, mine) ? 'written' : 'changed';
}

/** How two values are compared: as the text that both are, else byte by byte. */
export type Difference = { kind: 'same' } | { kind: 'text' | 'hex'; theirs: string; mine: string };

/** Bytes of a value that is compared byte by byte; each becomes three characters. */
const HEX_BYTES_MAX = 64 << 10;

export function difference(theirs: Uint8Array, mine: Uint8Array): Difference {
	if (equal(theirs, mine)) return { kind: 'same' };
	const [theirText, myText] = [asText(theirs), asText(mine)];
	if (theirText !== null && myText !== null) {
		return { kind: 'text', theirs: theirText, mine: myText };
	}
	return { kind: 'hex', theirs: cut(theirs), mine: cut(mine) };
}

function cut(bytes: Uint8Array): string {
	const left = bytes.length - HEX_BYTES_MAX;
	const text = hexText(bytes.subarray(0, HEX_BYTES_MAX));
	return left > 0 ? `${text}\n… ${left} more bytes` : text;
}
