import type { Node } from '$lib/api/types';

/** Where a node that answers describes its API; null while none does. */
export function apiReference(nodes: readonly Node[]): string | null {
	const node = nodes.find((one) => one.state === 'running');
	return node ? `http://${node.address}/openapi.json` : null;
}
