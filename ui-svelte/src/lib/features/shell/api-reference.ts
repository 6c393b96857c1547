import type { Node } from '$lib/api/types';

const isLoopback = (host: string) => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);

/**
 * Where a node that answers describes its API; null while none does, or where this browser, on
 * another machine than the nodes, would not reach it.
 */
export function apiReference(nodes: readonly Node[], pageHost: string): string | null {
	const node = nodes.find((one) => one.state === 'running');
	if (!node) return null;
	const host = node.address.replace(/:\d+$/, '');
	return isLoopback(host) && !isLoopback(pageHost) ? null : `http://${node.address}/openapi.json`;
}
