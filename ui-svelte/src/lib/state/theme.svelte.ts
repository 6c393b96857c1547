import { store, stored } from './stored';

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const system = matchMedia('(prefers-color-scheme: dark)');

function read(): Theme {
	const chosen = stored('theme');
	return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
}

class ThemeState {
	chosen = $state<Theme>(read());
	#systemDark = $state(system.matches);
	readonly dark = $derived(
		this.chosen === 'dark' || (this.chosen === 'system' && this.#systemDark)
	);

	constructor() {
		system.addEventListener('change', (event) => (this.#systemDark = event.matches));
	}

	set(theme: Theme): void {
		this.chosen = theme;
		// `static/theme.js` reads the same name before the first paint.
		store('theme', theme);
	}

	next(): Theme {
		const next = THEMES[(THEMES.indexOf(this.chosen) + 1) % THEMES.length] ?? 'system';
		this.set(next);
		return next;
	}
}

export const theme = new ThemeState();
