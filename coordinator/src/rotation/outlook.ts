import { type RotationPolicy, rotationPolicyOf } from '@evercert/shared/manifest';
import { layout } from '../state/layout.ts';
import type { AuthorityRecord, RotationRecord } from '../state/records.ts';
import { decide } from './decision.ts';
import { type RotationSources, rotationFactsOf } from './facts.ts';
import { isLeft } from './progress.ts';
import { otherOf, targetOf } from './transitions.ts';
import type { ForeignLeaf, LeafFacts, RotationDecision, RotationNodeFacts, RotationQuestion } from './types.ts';

export interface OutlookOptions extends RotationSources {
  authority: (cluster: string, name: string) => AuthorityRecord | undefined;
  /** Life of admins' credentials, of which nobody keeps a list: those by a control CA are in use for so long after it signed the last. */
  adminLifetimeMs: number;
  /** Policy for the control CA, which belongs to no cluster. */
  controlPolicy: RotationPolicy;
  behindAfterMs: number;
  /** What is published of a CA elsewhere, as in cluster-info; undefined: nothing is. */
  published: (cluster: string, authority: string) => RotationQuestion['published'];
  monotonicMs: () => number;
}

export interface Outlook {
  question: RotationQuestion;
  decision: RotationDecision;
}

/** How a rotation stands, from what is in memory; remembers since when it stands so. */
export class RotationOutlook {
  readonly #options: OutlookOptions;
  /** When every node was first seen to be through, by rotation and stage. */
  readonly #throughSince = new Map<string, number>();
  /** When a node's turn was first seen to have come. */
  readonly #askedSince = new Map<string, number>();
  /** Certificates by the target that were seen in place. */
  readonly #taken = new Set<string>();

  constructor(options: OutlookOptions) {
    this.#options = options;
  }

  /** Undefined: the CA is gone. */
  of(record: RotationRecord): Outlook | undefined {
    const { authority: find, controlPolicy, model, behindAfterMs, published, monotonicMs, nowMs } = this.#options;
    const authority = find(record.cluster, record.authority);
    if (!authority) return undefined;
    const isControl = record.cluster === layout.controlScope;
    const policy = isControl ? controlPolicy : rotationPolicyOf(model.cluster(record.cluster)?.policy);
    const target = targetOf(record);
    const { nodes, foreign } = rotationFactsOf(this.#options, authority);
    const key = `${record.id} ${record.stage}`;
    const since = this.#throughSince.get(key);
    const question: RotationQuestion = {
      record,
      target,
      nodes: nodes.map((node) => ({
        ...node,
        leaves: node.leaves.map((leaf) => ({
          ...leaf,
          taken: this.#isTaken(`${key} ${node.cluster}/${node.name}/${leaf.name}`, leaf, target),
        })),
        sinceMs: this.#sinceMs(record, node, target),
      })),
      foreign: isControl ? [...foreign, ...this.#admins(record)] : foreign,
      published: published(record.cluster, record.authority),
      inTurns: !isControl,
      maxConcurrent: policy.maxConcurrent,
      behindAfterMs,
      settleMs: policy.settleSeconds * 1000,
      throughForMs: since === undefined ? 0 : monotonicMs() - since,
      nowMs: nowMs(),
    };
    const decision = decide(question);
    if (!decision.through) this.#throughSince.delete(key);
    else if (since === undefined) this.#throughSince.set(key, monotonicMs());
    return { question, decision };
  }

  #admins(record: RotationRecord): ForeignLeaf[] {
    const { adminLifetimeMs, nowMs } = this.#options;
    const signedUntilMs = record.stage === 'AbortReissuing' ? record.stageSinceMs : (record.activatedAtMs ?? nowMs());
    return [
      {
        cluster: layout.controlScope,
        name: "admins' credentials",
        issuerSerial: otherOf(record),
        notAfterMs: signedUntilMs + adminLifetimeMs,
        revoked: false,
      },
    ];
  }

  /** Begins to see anew. */
  reset(): void {
    this.#throughSince.clear();
    this.#askedSince.clear();
    this.#taken.clear();
  }

  /** Of rotations that have ended. */
  forget({ id }: RotationRecord): void {
    for (const known of [this.#throughSince, this.#askedSince, this.#taken])
      for (const key of known.keys()) if (key.startsWith(`${id} `)) known.delete(key);
  }

  #isTaken(key: string, { issuerSerial, looked, reported }: LeafFacts, target: string): boolean {
    if (issuerSerial !== target) this.#taken.delete(key);
    else if (reported?.same && (!looked || reported.served === 'Served')) this.#taken.add(key);
    return this.#taken.has(key);
  }

  /** A node whose turn has not come is not late. */
  #sinceMs(
    { id, stage, stageSinceMs }: RotationRecord,
    { cluster, name, leaves }: Omit<RotationNodeFacts, 'sinceMs'>,
    target: string,
  ): number {
    if (stage !== 'Reissuing' && stage !== 'AbortReissuing') return stageSinceMs;
    const nowMs = this.#options.nowMs();
    const key = `${id} ${stage} ${cluster}/${name}`;
    if (leaves.some((leaf) => leaf.renewable && !leaf.asked && isLeft(leaf, target, nowMs))) {
      this.#askedSince.delete(key);
      return nowMs;
    }
    const known = this.#askedSince.get(key);
    if (known === undefined) this.#askedSince.set(key, nowMs);
    return known ?? nowMs;
  }
}
