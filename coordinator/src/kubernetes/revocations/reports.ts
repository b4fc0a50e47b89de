import type { BridgeContext } from '../bridges.ts';
import type { WorkResult } from '../core/index.ts';
import type { MatchCounts } from './match-counts.ts';
import type { ObjectEvents } from './object-events.ts';
import { collectionPath, type ObjectSource, type RevocationObject, type RevocationStatus } from './objects.ts';
import type { UntoldRefusals } from './refusals.ts';
import { conditionOf, type Standing, sameJudgement, sameStatus, statusOf } from './status.ts';

export interface ObjectReportsOptions {
  context: Pick<BridgeContext, 'api' | 'clock' | 'logger'>;
  refusals: UntoldRefusals;
  counts: Pick<MatchCounts, 'counts'>;
  events: Pick<ObjectEvents, 'tell'>;
}

/** Counts of one object are written that often at most; what is decided about it, at once. */
const leastMs = 5000;
/** Certificates come and go without a word. */
const refreshMs = 60_000;

/** Tells at the API server what has become of each object: in its status, and by events. */
export class ObjectReports {
  readonly #options: ObjectReportsOptions;
  /** Monotonic time of the last writing, by uid. */
  readonly #writtenAt = new Map<string, number>();

  constructor(options: ObjectReportsOptions) {
    this.#options = options;
  }

  forget(uid: string): void {
    this.#writtenAt.delete(uid);
  }

  async report(source: ObjectSource, object: RevocationObject, standing: Standing): Promise<WorkResult> {
    const { context, refusals, counts } = this.#options;
    const { name, uid } = object.metadata;
    const { record } = standing;
    const untold = record ? refusals.of(name) : { times: 0, message: '' };
    const counted = record && (await counts.counts());
    const isCounted = counted !== undefined && counted.atMs >= record!.updatedAtMs;
    const matching = isCounted ? (counted.byObject.get(name) ?? 0) : undefined;
    const status = statusOf(object, standing, { matching, refusals: untold.times }, context.clock.nowMs());
    const again = { againAfterMs: record && !isCounted ? leastMs : refreshMs };
    if (sameStatus(object.status, status)) return again;
    const waitMs = leastMs - (context.clock.monotonicMs() - (this.#writtenAt.get(uid) ?? Number.NEGATIVE_INFINITY));
    if (waitMs > 0 && sameJudgement(object.status, status)) return { againAfterMs: waitMs };
    await this.#tellJudgement(source, object, status);
    await this.#write(source, object, status);
    this.#writtenAt.set(uid, context.clock.monotonicMs());
    if (untold.times > 0) {
      refusals.told(name, untold.times);
      await this.#options.events.tell(source, object, { type: 'Warning', reason: 'RenewalRefused', id: '', ...untold });
    }
    return again;
  }

  /** Of the object as it was read: a refusal is counted once, whoever else writes. */
  async #write(source: ObjectSource, { metadata }: RevocationObject, status: RevocationStatus): Promise<void> {
    const path = `${collectionPath(source)}/${encodeURIComponent(metadata.name)}/status`;
    const body = { metadata: { uid: metadata.uid, resourceVersion: metadata.resourceVersion }, status };
    await this.#options.context.api.send({ method: 'PATCH', path, body });
  }

  async #tellJudgement(source: ObjectSource, object: RevocationObject, status: RevocationStatus): Promise<void> {
    const { events } = this.#options;
    const before = object.status ?? {};
    const id = String(status.observedGeneration);
    const differs = (type: string): boolean => {
      const [was, is] = [conditionOf(before, type), conditionOf(status, type)];
      return was?.status !== is?.status || was?.observedGeneration !== is?.observedGeneration || was?.message !== is?.message;
    };
    const accepted = conditionOf(status, 'Accepted');
    if (accepted?.status === 'False' && differs('Accepted'))
      await events.tell(source, object, { type: 'Warning', reason: 'NotAccepted', message: accepted.message, id, times: 1 });
    const inEffect = conditionOf(status, 'InEffect');
    if (accepted?.status === 'True' && inEffect?.status === 'True' && differs('InEffect')) {
      const matching = status.matchingCertificates;
      const message = `${inEffect.message}${matching === undefined ? '' : `; certificates that are alive and match: ${matching}`}`;
      await events.tell(source, object, { type: 'Normal', reason: 'InEffect', message, id, times: 1 });
    }
  }
}
