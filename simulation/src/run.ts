import { createHash } from 'node:crypto';
import { type ClusterOptions, type ClusterResult, type Counts, simulateCluster } from './cluster.ts';
import { type Violation, type ViolationKind, violationKinds } from './judge/judge.ts';

export interface RunOptions extends Omit<ClusterOptions, 'cluster'> {
  /** Numbers of the clusters. */
  clusters: readonly number[];
  /** Called after each cluster. */
  done?: (result: ClusterResult) => void;
}

/** What a run comes to. The same seed gives the same, byte for byte. */
export interface Summary extends Counts, Record<ViolationKind, number> {
  seed: string;
  clusters: number;
  nodes: number;
  days: number;
  /** Workers that began to be held back, by reason. */
  heldBy: Record<string, number>;
  /** SHA-256 over the histories of all clusters. */
  digest: string;
}

export type FoundViolation = Violation & { cluster: number };

/** Simulates one cluster after the other. */
export async function simulate({ clusters, done, ...options }: RunOptions): Promise<{ summary: Summary; violations: FoundViolation[] }> {
  const hash = createHash('sha256');
  const violations: FoundViolation[] = [];
  const heldBy = new Map<string, number>();
  const counts: Counts = { events: 0, decisions: 0, replacements: 0, removed: 0, succeeded: 0, cancelled: 0, retried: 0 };
  for (const cluster of clusters) {
    const result = await simulateCluster({ ...options, cluster });
    hash.update(`${cluster} ${result.digest}\n`);
    violations.push(...result.violations.map((violation) => ({ ...violation, cluster })));
    for (const [reason, times] of Object.entries(result.heldBy)) heldBy.set(reason, (heldBy.get(reason) ?? 0) + times);
    for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += result.counts[name];
    done?.(result);
  }
  const of = (kind: ViolationKind): number => violations.filter((violation) => violation.kind === kind).length;
  const found = Object.fromEntries(violationKinds.map((kind) => [kind, of(kind)])) as Record<ViolationKind, number>;
  const { seed, nodes, days } = options;
  const held = Object.fromEntries([...heldBy].sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    summary: { seed, clusters: clusters.length, nodes, days, ...found, ...counts, heldBy: held, digest: hash.digest('hex') },
    violations,
  };
}
