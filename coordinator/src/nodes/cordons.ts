import { EvercertError } from '@evercert/shared/errors';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import type { NodeRecord } from '../state/records.ts';
import type { NodeRegistry } from './registry.ts';

const maxReason = 256;

export interface CordonOrder {
  cluster: string;
  name: string;
  cordoned: boolean;
  /** For people. */
  reason: string;
}

/** Exempts nodes from replacement: a flag on the node's record, with who set it, when and why. Renewals go on. */
export class NodeCordons {
  readonly #options: { registry: NodeRegistry; events: EventRecorder; nowMs: () => number };

  constructor(options: { registry: NodeRegistry; events: EventRecorder; nowMs: () => number }) {
    this.#options = options;
  }

  /** Idempotent: what is so already stays, with its first time and reason. Errors: NotFound, InvalidArgument (the reason is too long). */
  async set({ cluster, name, cordoned, reason }: CordonOrder, actor: string): Promise<{ record: NodeRecord; changed: boolean }> {
    const { registry, events, nowMs } = this.#options;
    if (reason.length > maxReason) throw new EvercertError('InvalidArgument', `reason: expected ${maxReason} characters at most`);
    let changed = false;
    const record = await registry.update(cluster, name, (current) => {
      changed = (current.cordon !== undefined) !== cordoned;
      if (!changed) return undefined;
      const { cordon: _ended, ...rest } = current;
      return cordoned ? { ...rest, cordon: { atMs: nowMs(), by: actor, reason } } : rest;
    });
    if (changed) {
      events.record({
        cluster,
        node: name,
        actor,
        reason: cordoned ? 'NodeCordoned' : 'NodeUncordoned',
        source: renewalSource(record.role),
        message: cordoned
          ? `node ${name} is exempt from replacement${reason === '' ? '' : `: ${reason}`}`
          : `node ${name} may be replaced again`,
      });
    }
    return { record, changed };
  }
}
