import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { backoffMs } from '@evercert/shared/retry';
import type { ActionCall, NodeProvisioner } from '../provisioning/types.ts';
import { begun, failed, finished, idempotencyKey, type StepName, stepOf } from './progress.ts';
import type { RecordChange } from './records.ts';
import type { SagaOptions } from './saga-options.ts';
import type { ReplacementRecord } from './types.ts';

/** One call of an action that has no time of its own, by a driver that says nothing of it. */
const actionMs = 5 * 60_000;
/** A step that holds is asked once more for so long when its time is over. */
const lastCallMs = 30_000;
/** Between tries of an action: at least, and for what a person has to put right. */
const retryMs = { least: 250, base: 1000, cap: 5 * 60_000, precondition: { least: 30_000, base: 60_000, cap: 10 * 60_000 } };

export interface Step {
  step: StepName;
  /** In all, over its repeats; then it is skipped. Absent: it is tried for ever. */
  withinMs?: number;
  /** What a person has to put right first (FailedPrecondition) is waited for beyond the step's time: nothing has been taken from the node yet. */
  holds?: boolean;
  call: (provisioner: NodeProvisioner, context: ActionCall, leftMs: number) => Promise<{ message: string }>;
  /** The record, and what is written with it, once the step is over. */
  over: (record: ReplacementRecord) => RecordChange | Promise<RecordChange>;
}

/** Runs the steps of one replacement: written down before they are begun and after they are done, called with the same key however often, and tried again with back-off. */
export class Steps {
  readonly cluster: string;
  readonly id: string;
  readonly #options: SagaOptions;
  #signals: readonly AbortSignal[] = [];

  constructor(cluster: string, id: string, options: SagaOptions) {
    this.cluster = cluster;
    this.id = id;
    this.#options = options;
  }

  /** What ends the calls of this turn. */
  endWith(signals: readonly AbortSignal[]): void {
    this.#signals = signals;
  }

  /** Calls the provisioner for a step; records its begin and its end, or its failure and when it is tried again. */
  async run(record: ReplacementRecord, { step, withinMs, holds = false, call, over }: Step): Promise<void> {
    const { clock } = this.#options;
    const current = await this.begin(record, step);
    const startedAtMs = stepOf(current, step)?.startedAtMs ?? clock.nowMs();
    // A clock that was set back gives it no more than its time.
    const lastTryMs = holds ? Math.min(withinMs ?? actionMs, lastCallMs) : 0;
    const leftMs = withinMs === undefined ? actionMs : Math.max(lastTryMs, Math.min(withinMs, startedAtMs + withinMs - clock.nowMs()));
    if (leftMs <= 0) return this.finish(step, 'Skipped', current.message || 'its time is over', over);
    let message: string;
    try {
      const limitMs = withinMs === undefined ? undefined : leftMs;
      message = (await this.#call(current, step, limitMs, (p, context) => call(p, context, leftMs))).message;
    } catch (caught) {
      const stillMs = withinMs === undefined ? undefined : Math.min(leftMs, startedAtMs + withinMs - clock.nowMs());
      if (holds && toEvercertError(caught).code === 'FailedPrecondition') return this.#failed(step, caught, undefined, over);
      return this.#failed(step, caught, stillMs, over);
    }
    await this.fault(step, 'acted');
    await this.finish(step, 'Done', message, over);
  }

  async #failed(step: StepName, caught: unknown, leftMs: number | undefined, over: Step['over']): Promise<void> {
    const error = toEvercertError(caught);
    // Broken off because the coordinator stops or the replacement was cancelled: the record says what comes next.
    if (this.#signals.some(({ aborted }) => aborted)) return;
    if (leftMs !== undefined && leftMs <= 0) return this.finish(step, 'Skipped', error.message, over);
    await this.#retryLater(step, error, leftMs);
  }

  async #retryLater(step: StepName, error: EvercertError, leftMs = Number.POSITIVE_INFINITY): Promise<void> {
    const { records, clock, random, events, logger, policyOf } = this.#options;
    const after = await records.update(this.cluster, this.id, (record) => {
      const delayMs = Math.min(leftMs, retryDelayMs(error, record.failures + 1, random()));
      return { record: failed(record, step, { message: error.message, nextAttemptAtMs: clock.nowMs() + delayMs }) };
    });
    logger.debug('a step of a replacement failed', { replacement: this.id, step, code: error.code, error: error.message });
    // That somebody else has not made the machine yet is no failure, unless it takes longer than a machine may take to join.
    const waitedMs = clock.nowMs() - (stepOf(after, step)?.startedAtMs ?? clock.nowMs());
    if (step === 'Allocate' && error.code === 'Unavailable' && waitedMs < policyOf(this.cluster).joinTimeoutSeconds * 1000) return;
    events.recordOncePerMinute(`replacement/${this.id}`, [step, error.code], {
      cluster: this.cluster,
      node: after.node,
      actor: `coordinator/replacement/${this.id}`,
      reason: 'ReplacementStepFailed',
      source: 'certificate-renewal-worker',
      warning: true,
      errorCode: error.code,
      message: `replacement ${this.id}: ${step} failed (tries so far: ${after.failures}), it is tried again: ${error.message}`,
      details: { replacementId: this.id, attempt: after.attempt, step },
    });
  }

  /** Durable before anything is done. */
  async begin(record: ReplacementRecord, step: StepName): Promise<ReplacementRecord> {
    const { records, clock } = this.#options;
    if (!begun(record, step, clock.nowMs())) return record;
    const after = await records.update(this.cluster, this.id, (before) => {
      const next = begun(before, step, clock.nowMs());
      return next && { record: next.state === 'BackingOff' ? { ...next, state: 'Running' } : next };
    });
    await this.fault(step, 'begun');
    return after;
  }

  async finish(step: StepName, result: 'Done' | 'Skipped', message: string, over: Step['over']): Promise<void> {
    const { records, swap, clock } = this.#options;
    await records.update(this.cluster, this.id, async (before) => {
      const change = await over(finished(before, step, { result, message, nowMs: clock.nowMs() }));
      const key = idempotencyKey(before, step);
      const said = message === '' ? '' : `: ${message}`;
      const event =
        result === 'Done'
          ? { reason: 'ReplacementStepDone', message: `replacement ${this.id}: ${step} is done (${key})${said}` }
          : {
              reason: 'ReplacementStepSkipped',
              warning: true,
              message: `replacement ${this.id}: ${step} was not done in its time, going on without it (${key})${said}`,
            };
      const details = { step, result, idempotencyKey: key };
      return { ...change, operations: [...(change.operations ?? []), swap.event(before, { ...event, details })] };
    });
    await this.fault(step, 'done');
  }

  #call<T>(
    record: ReplacementRecord,
    step: StepName,
    limitMs: number | undefined,
    action: (provisioner: NodeProvisioner, context: ActionCall) => Promise<T>,
  ): Promise<T> {
    const { provisioners, calls } = this.#options;
    const provisioner = provisioners.get(record.provisioner);
    if (!provisioner) throw unknownProvisioner(record.provisioner, provisioners.names());
    return calls.run({ limitMs: limitMs ?? provisioner.actionTimeoutMs ?? actionMs, signals: this.#signals }, (signal) =>
      action(provisioner, {
        idempotencyKey: idempotencyKey(record, step),
        replacementId: record.id,
        attempt: record.attempt,
        cluster: record.cluster,
        node: {
          name: record.node,
          labels: record.facts.labels,
          addresses: record.facts.registeredAddresses,
          dnsNames: record.facts.dnsNames,
        },
        signal,
      }),
    );
  }

  /** Shown with the replacement; written when it changes. */
  async say(message: string): Promise<void> {
    await this.#options.records.update(this.cluster, this.id, (record) =>
      record.message === message ? undefined : { record: { ...record, message } },
    );
  }

  async fault(step: StepName, when: 'begun' | 'acted' | 'done'): Promise<void> {
    await this.#options.fault(`replacement-${step.toLowerCase()}-${when}`);
  }
}

function retryDelayMs(error: EvercertError, attempt: number, draw: number): number {
  const { precondition } = retryMs;
  if (error.code === 'FailedPrecondition')
    return backoffMs({
      attempt,
      draw,
      baseMs: precondition.base,
      capMs: precondition.cap,
      hintMs: error.retryAfterMs ?? precondition.least,
    });
  return backoffMs({ attempt, draw, baseMs: retryMs.base, capMs: retryMs.cap, hintMs: error.retryAfterMs ?? retryMs.least });
}

export function unknownProvisioner(name: string, known: readonly string[]): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `this coordinator has no provisioner "${name}" (it has ${known.join(', ') || 'none'}): configure it under 'provisioners' in coordinator.yaml`,
  );
}
