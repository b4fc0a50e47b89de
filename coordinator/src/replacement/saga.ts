import { describeError, EvercertError } from '@evercert/shared/errors';
import { backoffMs } from '@evercert/shared/retry';
import { endCancelled } from './ending.ts';
import { longestBackoff, NewMachine } from './new-machine.ts';
import { type Act, nextTodo } from './progress.ts';
import { isJoined, type SagaOptions } from './saga-options.ts';
import { Steps } from './steps.ts';
import type { ReplacementRecord } from './types.ts';

export type { Confirmation, SagaOptions } from './saga-options.ts';

/** Cordoning, and taking it back, may take so long in all. */
const cordonMs = 60_000;
/** Waits are no longer than this: what changes meanwhile wakes a saga, but for the clock. */
const longestNapMs = 60_000;
/** Nothing that failed is meant to wait longer, whatever it asks for. */
const longestRetryMs = 3600_000;
/** Until it is asked again whether the machine may be removed. */
const confirmEveryMs = 1000;
/** After the store, or something else of our own, has failed. */
const mishapMs = { least: 250, base: 1000, cap: 30_000 };

/**
 * Runs one replacement to its end (invariant 14). All that it knows is in the record: each step is written down before it is begun and after it is done, and is called with the same key
 * however often it is begun, so that whoever takes the record up after a crash goes on where it was left.
 */
export class ReplacementSaga {
  readonly cluster: string;
  readonly id: string;
  readonly #options: SagaOptions;
  readonly #steps: Steps;
  readonly #machine: NewMachine;
  readonly #stop = new AbortController();
  #interruption = new AbortController();
  #nap: AbortController | undefined;
  #poked = false;
  #running: Promise<void> | undefined;
  #mishaps = 0;
  /** When it is asked again, by the monotonic clock: it costs a look at the whole cluster. */
  #confirmAtMs = 0;

  constructor(cluster: string, id: string, options: SagaOptions) {
    this.cluster = cluster;
    this.id = id;
    this.#options = options;
    this.#steps = new Steps(cluster, id, options);
    this.#machine = new NewMachine({ saga: options, steps: this.#steps, sleep: (ms) => this.#sleep(ms) });
  }

  /** Resolves when the replacement has ended, or was stopped. */
  run(): Promise<void> {
    this.#running ??= this.#loop();
    return this.#running;
  }

  /** Begins no further step, and breaks off the call that is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#nap?.abort();
    await this.#running;
  }

  /** Something has changed that it may wait for. */
  poke(): void {
    this.#poked = true;
    this.#nap?.abort();
  }

  /** The record was cancelled: the call under way is of no use any more. */
  interrupt(): void {
    this.#interruption.abort();
    this.#interruption = new AbortController();
    this.poke();
  }

  async #loop(): Promise<void> {
    const { logger, random } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        if (await this.#turn()) return;
        this.#mishaps = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#mishaps += 1;
        logger.warn('a replacement cannot go on just now; trying again', {
          cluster: this.cluster,
          replacement: this.id,
          error: describeError(error),
        });
        await this.#sleep(
          backoffMs({ attempt: this.#mishaps, draw: random(), baseMs: mishapMs.base, capMs: mishapMs.cap, hintMs: mishapMs.least }),
        );
      }
    }
  }

  /** One step, or one wait. True: the replacement has ended. */
  async #turn(): Promise<boolean> {
    const { records, model, pauses, clock } = this.#options;
    // Before the record is read: a cancel that comes after that ends the calls of this turn.
    this.#steps.endWith([this.#stop.signal, this.#interruption.signal]);
    const record = records.get(this.cluster, this.id)?.record;
    if (!record) return true;
    const joined = record.newNode !== '' && isJoined(model, this.cluster, record.newNode);
    const nowMs = clock.nowMs();
    const longestWaitMs = Math.max(longestRetryMs, this.#options.policyOf(this.cluster).maxBackoffSeconds * longestBackoff * 1000);
    const todo = nextTodo(record, { paused: pauses.of(this.cluster) !== undefined, joined, nowMs, longestWaitMs });
    if (todo.type === 'ended') return true;
    if (todo.type === 'wait') await this.#sleep(Math.min(longestNapMs, (todo.untilMs ?? nowMs + longestNapMs) - nowMs));
    else await this.#act(todo.act, record);
    return false;
  }

  #act(act: Act, record: ReplacementRecord): Promise<void> {
    switch (act) {
      case 'Cordon':
        return this.#steps.run(record, {
          step: 'Cordon',
          withinMs: Math.min(cordonMs, this.#drainMs()),
          holds: true,
          call: (provisioner, context) => provisioner.cordon(context),
          over: (after) => ({ record: { ...after, step: 'Drain' } }),
        });
      case 'Drain':
        return this.#steps.run(record, {
          step: 'Drain',
          withinMs: this.#drainMs(),
          call: (provisioner, context, timeoutMs) => provisioner.drain({ ...context, timeoutMs }),
          over: (after) => ({ record: { ...after, step: 'Remove' } }),
        });
      case 'Remove':
        return this.#remove(record);
      case 'Allocate':
        return this.#machine.allocate(record);
      case 'Create':
        return this.#machine.create(record);
      case 'Join':
        return this.#machine.waitFor(record, 'Join', (name) => isJoined(this.#options.model, this.cluster, name));
      case 'Verify':
        return this.#machine.waitFor(record, 'Verify', (name) => this.#options.isReady(this.cluster, name));
      case 'Discard':
        return this.#machine.discard(record);
      case 'Uncordon':
        return this.#steps.run(record, {
          step: 'Uncordon',
          withinMs: cordonMs,
          call: (provisioner, context) => provisioner.uncordon(context),
          over: (after) => ({ record: after }),
        });
      case 'GiveUp':
        return this.#machine.giveUp(
          record,
          `the replacement was cancelled by ${record.cancel?.by ?? 'an admin'}`,
          ({ identitySerials }) => identitySerials.length > 0,
        );
      case 'End':
        return endCancelled(this.#options, record);
    }
  }

  #drainMs(): number {
    return this.#options.policyOf(this.cluster).drainTimeoutSeconds * 1000;
  }

  /** Up to the transaction of the withdrawal everything can be taken back; it is asked once more whether that is right, and written only while nothing is paused. */
  async #remove(record: ReplacementRecord): Promise<void> {
    const { records, swap, confirm, clock } = this.#options;
    if (record.withdrawnAtMs === undefined) {
      const current = await this.#steps.begin(record, 'Remove');
      const notYetMs = this.#confirmAtMs - clock.monotonicMs();
      if (notYetMs > 0) return this.#sleep(notYetMs);
      const confirmation = confirm(current);
      if (confirmation.type === 'recovered') {
        await records.update(this.cluster, this.id, (before) => ({
          record: { ...before, cancel: { by: 'coordinator', atMs: clock.nowMs(), reason: confirmation.message } },
        }));
        return;
      }
      if (confirmation.type === 'wait') {
        this.#confirmAtMs = clock.monotonicMs() + confirmEveryMs;
        return this.#steps.say(confirmation.message);
      }
      const after = await records.update(this.cluster, this.id, (before) =>
        before.cancel || before.withdrawnAtMs !== undefined ? undefined : swap.withdrawal(before, () => confirm(before).type === 'go'),
      );
      if (after.withdrawnAtMs === undefined) {
        this.#confirmAtMs = clock.monotonicMs() + confirmEveryMs;
        return;
      }
      await this.#options.fault('replacement-remove-withdrawn');
    }
    await this.#steps.run(records.get(this.cluster, this.id)?.record ?? record, {
      step: 'Remove',
      call: (provisioner, context) => provisioner.remove(context),
      over: (after) => ({ record: { ...after, step: 'Create' } }),
    });
  }

  /** Ends early when it is poked or stopped. */
  async #sleep(ms: number): Promise<void> {
    if (this.#poked || this.#stop.signal.aborted) {
      this.#poked = false;
      return;
    }
    this.#nap = new AbortController();
    try {
      await this.#options.clock.sleep(Math.max(1, ms), this.#nap.signal);
    } catch (error) {
      if (!(error instanceof EvercertError && error.code === 'Cancelled')) throw error;
    } finally {
      this.#nap = undefined;
      this.#poked = false;
    }
  }
}
