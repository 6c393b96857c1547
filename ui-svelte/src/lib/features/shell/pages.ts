import ChartLine from '@lucide/svelte/icons/chart-line';
import Database from '@lucide/svelte/icons/database';
import LayoutDashboard from '@lucide/svelte/icons/layout-dashboard';
import ListTree from '@lucide/svelte/icons/list-tree';
import Server from '@lucide/svelte/icons/server';
import type { Icon } from '$lib/ui/types';

export type Page = { href: string; label: string; icon: Icon; keys: string };

/** The pages that can be gone to from everywhere. */
export const PAGES: readonly Page[] = [
	{ href: '/', label: 'Overview', icon: LayoutDashboard, keys: 'g o' },
	{ href: '/nodes', label: 'Nodes', icon: Server, keys: 'g n' },
	{ href: '/data', label: 'Data', icon: Database, keys: 'g d' },
	{ href: '/events', label: 'Events', icon: ListTree, keys: 'g e' },
	{ href: '/metrics', label: 'Metrics', icon: ChartLine, keys: 'g m' }
];

/** Whether `path` is this page or one below it. */
export function isWithin(href: string, path: string): boolean {
	return href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`);
}
