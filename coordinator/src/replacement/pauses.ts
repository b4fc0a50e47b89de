import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { clusterNotFound } from '../clusters/clusters.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { encodeRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import type { ReplacementPauseRecord, ReplacementQuestion } from './types.ts';

const maxReason = 256;

export interface PauseOrder {
  /** Empty: all clusters. */
  cluster: string;
  paused: boolean;
  /** For people. */
  reason: string;
}

/** The switch that stops replacements, of one cluster or of all: no new one begins, and one under way makes no further step. */
export class ReplacementPauses {
  readonly informer: Informer<ReplacementPauseRecord>;
  readonly #options: { store: Store; model: Model; events: EventRecorder; clock: Clock };

  constructor(options: { store: Store; model: Model; events: EventRecorder; clock: Clock; logger: Logger }) {
    this.#options = options;
    this.informer = new Informer(options.store, layout.replacementPauses, options.logger);
  }

  start(): Promise<void> {
    return this.informer.start();
  }

  stop(): Promise<void> {
    return this.informer.stop();
  }

  /** The one for all clusters first. Empty cluster: all there are. */
  list(cluster: string): ReplacementPauseRecord[] {
    const found = this.informer.list().filter((pause) => cluster === '' || pause.cluster === '' || pause.cluster === cluster);
    return found.sort((a, b) => (a.cluster < b.cluster ? -1 : 1));
  }

  /** What stops this cluster's replacements; undefined: nothing. */
  of(cluster: string): ReplacementQuestion['pause'] {
    const [pause] = this.list(cluster);
    return pause && { by: pause.by, reason: pause.reason, scope: pause.cluster === '' ? 'all' : 'cluster' };
  }

  /** Goes into the transaction of what a pause would stop: fails when one came or went meanwhile. */
  unchanged(cluster: string): Compare[] {
    return [keyOf(''), keyOf(cluster)].map((key) => ({ key, modRevision: this.informer.get(key)?.modRevision ?? 0 }));
  }

  /** Idempotent: a pause that there is keeps its time and reason. False: it was so already. Errors: NotFound (the cluster), InvalidArgument. */
  async set({ cluster, paused, reason }: PauseOrder, actor: string): Promise<boolean> {
    const { store, model, events, clock } = this.#options;
    if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
    if (reason.length > maxReason) throw new EvercertError('InvalidArgument', `reason: expected ${maxReason} characters at most`);
    const key = keyOf(cluster);
    const cached = this.informer.get(key);
    if ((cached !== undefined) === paused) return false;
    const record: ReplacementPauseRecord = { cluster, atMs: clock.nowMs(), by: actor, reason };
    const operation: Operation = paused ? { type: 'put', key, value: encodeRecord(record) } : { type: 'delete', key };
    const where = cluster === '' ? 'all clusters' : `cluster ${cluster}`;
    const event = events.operation({
      ...(cluster !== '' && { cluster }),
      actor,
      reason: paused ? 'ReplacementsPaused' : 'ReplacementsResumed',
      message: paused ? `paused replacements in ${where}${reason === '' ? '' : `: ${reason}`}` : `let replacements in ${where} go on`,
    });
    const { succeeded, revision } = await store.transact([{ key, modRevision: cached?.modRevision ?? 0 }], [operation, event]);
    if (!succeeded) throw new EvercertError('Conflict', `the pause of ${where} changed under this request: try again`);
    if (paused) this.informer.accept(key, record, revision);
    else this.informer.drop(key, revision);
    return true;
  }
}

function keyOf(cluster: string): string {
  return layout.replacementPause(cluster === '' ? layout.controlScope : cluster);
}
