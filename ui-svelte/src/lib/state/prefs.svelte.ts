import { store, stored } from './stored';

export const CHART_RANGES = ['1m', '5m', '15m'] as const;
export type ChartRange = (typeof CHART_RANGES)[number];
export type ReadConsistency = 'linearizable' | 'local';

function oneOf<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
	const found = stored(name);
	return choices.find((choice) => choice === found) ?? otherwise;
}

class Prefs {
	#readConsistency = $state(oneOf('read', ['linearizable', 'local'] as const, 'linearizable'));
	#shortcuts = $state(oneOf('shortcuts', ['on', 'off'] as const, 'on'));
	#chartRange = $state(oneOf('range', CHART_RANGES, '5m'));

	get readConsistency(): ReadConsistency {
		return this.#readConsistency;
	}
	set readConsistency(value: ReadConsistency) {
		this.#readConsistency = value;
		store('read', value);
	}

	/** Whether single keys act (WCAG 2.1.4). */
	get shortcuts(): boolean {
		return this.#shortcuts === 'on';
	}
	set shortcuts(value: boolean) {
		this.#shortcuts = value ? 'on' : 'off';
		store('shortcuts', this.#shortcuts);
	}

	get chartRange(): ChartRange {
		return this.#chartRange;
	}
	set chartRange(value: ChartRange) {
		this.#chartRange = value;
		store('range', value);
	}
}

export const prefs = new Prefs();
