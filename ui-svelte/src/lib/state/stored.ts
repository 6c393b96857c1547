// Without storage (private windows may refuse it) a choice lasts as long as the page.

export function stored(name: string): string | null {
	try {
		return localStorage.getItem(`axon.${name}`);
	} catch {
		return null;
	}
}

export function store(name: string, value: string): void {
	try {
		localStorage.setItem(`axon.${name}`, value);
	} catch {
		// Said above.
	}
}
