/**
 * The launcher's words as a sentence of their own: they begin with a capital, unless with one of
 * `names`, which stay as they are.
 */
export function sentence(words: string, names: readonly string[] = []): string {
	const [first = ''] = words.split(/[ ,:]/, 1);
	return names.includes(first) ? words : words.charAt(0).toUpperCase() + words.slice(1);
}
