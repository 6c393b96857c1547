import type { LucideIcon } from '@lucide/svelte';

export type Icon = LucideIcon;

/** What something means; the colours follow from it. */
export type Tone = 'accent' | 'peer' | 'learn' | 'ok' | 'warn' | 'crit' | 'muted';

export type MenuItem = {
	label: string;
	icon?: Icon | undefined;
	onselect?: (() => void) | undefined;
	/** Why it cannot be chosen; a disabled item stays, and says so. */
	disabledReason?: string | null | undefined;
	danger?: boolean | undefined;
	/** A line above it. */
	separator?: boolean | undefined;
};

export type Tab = { href: string; label: string; count?: number | null | undefined };

export type Option<T extends string = string> = { value: T; label: string };
