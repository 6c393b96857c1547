import type { Cluster } from '$lib/api/types';

/**
 * Who leads and is followed; null while nobody is. One that has lost its quorum still takes itself for
 * the leader, decides nothing, and does not know how far the others are.
 */
export function followedLeader(cluster: Pick<Cluster, 'leader' | 'health'>): string | null {
	return cluster.health === 'no_quorum' ? null : cluster.leader;
}
