import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { RotationRecord } from '../state/records.ts';
import type { Outlook, RotationOutlook } from './outlook.ts';
import { hasEnded, type RotationRecords } from './records.ts';
import { RotationSteps, type StepsOptions } from './steps.ts';
import type { RenewalOrder } from './types.ts';

/** Between two looks at least; looks take at most a part of the time, this one. */
const tickMs = 250;
const shareOfTime = 20;
const retryMs = { base: 1000, cap: 60_000 };
/** Characters of a failure that are kept with the rotation. */
const maxError = 500;
/** Steps that need no waiting follow each other in one look, so many at most. */
const maxStepsAtOnce = 8;

export interface RunnerOptions extends Omit<StepsOptions, 'fault'> {
  records: RotationRecords;
  outlook: RotationOutlook;
  /** Writes by the leader's store. */
  registry: Pick<NodeRegistry, 'update'>;
  clock: Clock;
  logger: Logger;
  random: () => number;
  /** Absent: nothing happens at the places where tests end the process. */
  fault?: StepsOptions['fault'];
}

/** Runs every rotation that is under way, those included that another process began; at the leader alone. */
export class RotationRunner {
  readonly #options: RunnerOptions;
  readonly #steps: RotationSteps;
  /** Stages whose begin this process has come past. */
  readonly #begun = new Set<string>();
  readonly #failures = new Map<string, { count: number; againMs: number }>();
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #unsubscribe: (() => void) | undefined;
  #stopped = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#steps = new RotationSteps({ ...options, fault: options.fault ?? (() => {}) });
  }

  start(): void {
    // Since when every node is through is for whoever leads now to see.
    this.#options.outlook.reset();
    this.#unsubscribe = this.#options.records.informer.subscribe(() => this.#schedule(0));
    this.#schedule(0);
  }

  /** Begins no further step, and waits for the one under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    this.#timer?.cancel();
    await this.#looking;
  }

  /** Looks at every rotation that is under way, one after the other. */
  async look(): Promise<void> {
    for (const { id } of this.#options.records.running()) {
      for (let step = 0; step < maxStepsAtOnce && !this.#stopped; step++) if (!(await this.#tryTurn(id))) break;
    }
  }

  /** True: something was done, and there may be more to do at once. */
  async #tryTurn(id: string): Promise<boolean> {
    const { records, clock } = this.#options;
    const record = records.running().find((one) => one.id === id);
    const failed = this.#failures.get(id);
    if (!record || (failed && clock.monotonicMs() < failed.againMs)) return false;
    try {
      const done = await this.#turn(record);
      this.#failures.delete(id);
      return done;
    } catch (error) {
      await this.#failed(record, error);
      return false;
    }
  }

  async #turn(record: RotationRecord): Promise<boolean> {
    const { outlook } = this.#options;
    const stage = `${record.id} ${record.stage}`;
    if (!this.#begun.has(stage)) {
      this.#begun.add(stage);
      await this.#steps.passed(record, 'begun');
    }
    const look = outlook.of(record);
    if (!look) return false;
    for (const order of look.decision.ask) await this.#ask(record, order);
    if (!look.decision.ready || this.#stopped) return false;
    const after = await this.#steps.advance(record, look as Outlook);
    if (hasEnded(after)) outlook.forget(after);
    return after.stage !== record.stage;
  }

  /** Marks stay in the node's record: an agent that is away for a moment finds them when it is back. */
  async #ask({ authority, id }: RotationRecord, { cluster, node, marks }: RenewalOrder): Promise<void> {
    const { registry, logger } = this.#options;
    if (this.#stopped) return;
    try {
      await registry.update(cluster, node, (record) => {
        const before = record.renewIfIssuedBeforeMs;
        const later = Object.entries(marks).filter(([name, ms]) => (before[name] ?? 0) < ms);
        return later.length === 0 ? undefined : { ...record, renewIfIssuedBeforeMs: { ...before, ...Object.fromEntries(later) } };
      });
      logger.info('asked a node for certificates by the new CA', {
        cluster,
        node,
        authority,
        rotation: id,
        certificates: Object.keys(marks).join(', '),
      });
    } catch (error) {
      // It was deleted a moment ago: there is nothing to renew.
      if (!(error instanceof EvercertError && error.code === 'NotFound')) throw error;
    }
  }

  async #failed(record: RotationRecord, error: unknown): Promise<void> {
    const { clock, logger, random } = this.#options;
    const count = (this.#failures.get(record.id)?.count ?? 0) + 1;
    const delayMs = backoffMs({ attempt: count, draw: random(), baseMs: retryMs.base, capMs: retryMs.cap });
    this.#failures.set(record.id, { count, againMs: clock.monotonicMs() + delayMs });
    const message = describeError(error).slice(0, maxError);
    logger.warn('a rotation cannot go on just now; trying again', { rotation: record.id, stage: record.stage, error: message });
    if (error instanceof EvercertError && error.code === 'NotLeader') return;
    try {
      await this.#steps.noteFailure(record, message);
    } catch (again) {
      logger.warn('a failure cannot be noted with its rotation', { rotation: record.id, error: describeError(again) });
    }
  }

  #schedule(delayMs: number): void {
    if (this.#stopped || this.#looking !== undefined) return;
    this.#timer?.cancel();
    const { clock, logger } = this.#options;
    this.#timer = clock.after(delayMs, () => {
      const began = clock.monotonicMs();
      this.#looking = this.look()
        .catch((error: unknown) => logger.error('rotations cannot be looked at just now', { error: describeError(error) }))
        .finally(() => {
          this.#looking = undefined;
          this.#schedule(Math.max(tickMs, (clock.monotonicMs() - began) * shareOfTime));
        });
    });
  }
}
