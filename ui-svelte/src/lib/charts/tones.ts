/** Colours of what charts show, by their tokens. */
export type ChartTone = 'accent' | 'series-2' | 'warn' | 'crit' | 'peer' | 'learn' | 'ok' | 'muted';

export const toneVar = (tone: ChartTone) => `var(--${tone === 'muted' ? 'text-3' : tone})`;

/** Words on a soft ground of the same colour. */
export const SOFT: Record<ChartTone, string> = {
	accent: 'bg-accent-soft text-accent',
	'series-2': 'bg-inset text-ink-2',
	warn: 'bg-warn-soft text-warn',
	crit: 'bg-crit-soft text-crit',
	peer: 'bg-inset text-ink-2',
	learn: 'bg-learn-soft text-learn',
	ok: 'bg-ok-soft text-ok',
	muted: 'bg-inset text-ink-2'
};

/**
 * Colours as the canvas takes them, resolved by the browser: what it makes of `color-mix` over a token
 * is right in either theme, whatever the build has made of the token's notation.
 */
export function resolver(host: HTMLElement): (tone: ChartTone, percent?: number) => string {
	const style = getComputedStyle(host);
	return (tone, percent = 100) => {
		host.style.color = `color-mix(in oklab, ${toneVar(tone)} ${String(percent)}%, transparent)`;
		const colour = style.color;
		host.style.color = '';
		return colour;
	};
}
