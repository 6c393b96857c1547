// Nodes, what can be done to them, and the operations that come of it.

import { request } from './client';
import type { DryRun, Members, Node, Operation, Status } from './types';

export type Action =
	'start' | 'stop' | 'restart' | 'kill' | 'promote' | 'transfer' | 'decommission';

const nodePath = (id: string) => `/api/v1/nodes/${encodeURIComponent(id)}`;
const ROLLING_RESTART = '/api/v1/actions/rolling_restart';

export const listNodes = () => request<Node[]>('GET', '/api/v1/nodes');

export function addNode({ id, learner }: { id: string; learner: boolean }): Promise<Operation> {
	const membership = learner ? 'learner' : 'voter';
	return request('POST', '/api/v1/nodes', { json: { id, membership } });
}

export const act = (id: string, action: Action) =>
	request<Operation>('POST', `${nodePath(id)}/actions/${action}`);

export const dryRun = (id: string, action: Action, signal?: AbortSignal) =>
	request<DryRun>('POST', `${nodePath(id)}/actions/${action}`, {
		query: { dry_run: true },
		signal
	});

export const rollingRestart = () => request<Operation>('POST', ROLLING_RESTART);

export const dryRollingRestart = (signal?: AbortSignal) =>
	request<DryRun>('POST', ROLLING_RESTART, { query: { dry_run: true }, signal });

export const listOperations = () => request<Operation[]>('GET', '/api/v1/operations');

export const operation = (id: number) => request<Operation>('GET', `/api/v1/operations/${id}`);

export const cancelOperation = (id: number) =>
	request<Operation>('POST', `/api/v1/operations/${id}/cancel`);

/** What the node says of itself, and of the cluster as it sees it. */
export const nodeStatus = (id: string, signal?: AbortSignal) =>
	request<Status>('GET', '/api/v1/status', { query: { node: id }, signal });

/** Who belongs to the cluster as the node sees it, and whom it hears. */
export const nodeMembers = (id: string, signal?: AbortSignal) =>
	request<Members>('GET', '/api/v1/members', { query: { node: id }, signal });
