/** Whether every word of `query` begins a word of `text`, in any order. */
export function matches(query: string, text: string): boolean {
	const words = text.toLowerCase().split(/[\s/·,-]+/);
	return query
		.toLowerCase()
		.split(/\s+/)
		.filter(Boolean)
		.every(
			(part) => words.some((word) => word.startsWith(part)) || text.toLowerCase().includes(part)
		);
}
