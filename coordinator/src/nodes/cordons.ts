import { EvercertError } from '@evercert/shared/errors';
import { formatRfc3339 } from '@evercert/shared/manifest';
import { renewalSource } from '../events/renewal-log.ts';
import type { CordonRecord, NodeRecord } from '../state/records.ts';
import type { NodeRegistry } from './registry.ts';

const maxReason = 256;
/** For longer, a cordon without an end is meant. */
const durationBounds = { minMs: 1000, maxMs: 30 * 86_400_000 };

export interface CordonOrder {
  cluster: string;
  name: string;
  cordoned: boolean;
  /** For people. */
  reason: string;
  /** It ends by itself after so long; undefined: when it is ended. */
  durationMs?: number | undefined;
}

/** A node's cordon; undefined: it has none, or its time is over. */
export function activeCordon({ cordon }: Pick<NodeRecord, 'cordon'>, nowMs: number): CordonRecord | undefined {
  return cordon?.untilMs !== undefined && cordon.untilMs <= nowMs ? undefined : cordon;
}

/** Exempts nodes from replacement: a flag on the node's record, with who set it, when, why and until when. Renewals go on. */
export class NodeCordons {
  readonly #options: { registry: NodeRegistry; nowMs: () => number };

  constructor(options: { registry: NodeRegistry; nowMs: () => number }) {
    this.#options = options;
  }

  /**
   * Idempotent: what is so already stays, with its first time. A cordon with another reason, or with a duration, takes the place of the earlier one; one with a duration counts from now.
   * Errors: NotFound, InvalidArgument (the reason is too long, the duration is out of bounds).
   */
  async set(order: CordonOrder, actor: string): Promise<{ record: NodeRecord; changed: boolean }> {
    check(order);
    const { registry, nowMs } = this.#options;
    const { cluster, name, cordoned } = order;
    let changed = false;
    const change = (current: NodeRecord): NodeRecord | undefined => {
      const { cordon: _earlier, ...rest } = current;
      const earlier = activeCordon(current, nowMs());
      const wanted = cordoned ? cordonOf(order, actor, nowMs()) : undefined;
      changed = !same(earlier, wanted);
      if (!changed) return undefined;
      return wanted ? { ...rest, cordon: wanted } : rest;
    };
    const record = await registry.update(cluster, name, change, ({ cordon, role }) => ({
      cluster,
      node: name,
      actor,
      reason: cordoned ? 'NodeCordoned' : 'NodeUncordoned',
      source: renewalSource(role),
      message: cordoned ? cordonedMessage(name, cordon) : `node ${name} may be replaced again`,
      details: { cordonReason: cordon?.reason, until: cordon?.untilMs && formatRfc3339(cordon.untilMs) },
    }));
    return { record, changed };
  }
}

function check({ cordoned, reason, durationMs }: CordonOrder): void {
  if (reason.length > maxReason) throw new EvercertError('InvalidArgument', `reason: expected ${maxReason} characters at most`);
  if (durationMs === undefined) return;
  if (!cordoned) throw new EvercertError('InvalidArgument', 'duration: expected only with a cordon; what ends one ends it now');
  if (!(durationMs >= durationBounds.minMs && durationMs <= durationBounds.maxMs))
    throw new EvercertError(
      'InvalidArgument',
      'duration: expected between 1 second and 30 days; leave it out for a cordon that lasts until it is ended',
    );
}

function cordonOf({ reason, durationMs }: CordonOrder, by: string, atMs: number): CordonRecord {
  return { atMs, by, reason, ...(durationMs !== undefined && { untilMs: atMs + durationMs }) };
}

function same(a: CordonRecord | undefined, b: CordonRecord | undefined): boolean {
  if (!a || !b) return a === b;
  return a.reason === b.reason && a.untilMs === b.untilMs;
}

function cordonedMessage(name: string, cordon: CordonRecord | undefined): string {
  const until = cordon?.untilMs === undefined ? '' : ` until ${formatRfc3339(cordon.untilMs)}`;
  return `node ${name} is exempt from replacement${until}${cordon?.reason ? `: ${cordon.reason}` : ''}`;
}
