import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import { backoffMs } from '@evercert/shared/retry';
import type { EventRecorder } from '../events/recorder.ts';
import type { Provisioners } from '../provisioning/provisioners.ts';
import type { ActionCall, JoinFacts, NewNode, NodeProvisioner } from '../provisioning/types.ts';
import type { Model } from '../state/model.ts';
import type { ProvisionerCalls } from './calls.ts';
import type { ReplacementPauses } from './pauses.ts';
import { type Act, begun, failed, finished, idempotencyKey, nextTodo, type StepName, stepOf } from './progress.ts';
import type { RecordChange, ReplacementRecords } from './records.ts';
import type { NodeSwap } from './swap.ts';
import type { ReplacementRecord } from './types.ts';

/** What is decided of the node once more, immediately before its machine is removed. */
export type Confirmation =
  | { type: 'go' }
  /** Not now; asked again a little later. */
  | { type: 'wait'; message: string }
  /** Not at all: the replacement is cancelled. */
  | { type: 'recovered'; message: string };

export interface SagaOptions {
  records: Pick<ReplacementRecords, 'get' | 'update'>;
  swap: Pick<NodeSwap, 'withdrawal' | 'checkNew' | 'registration' | 'departure' | 'token' | 'givingUp' | 'discarded' | 'ending' | 'event'>;
  model: Pick<Model, 'node'>;
  pauses: Pick<ReplacementPauses, 'of'>;
  provisioners: Provisioners;
  calls: ProvisionerCalls;
  events: Pick<EventRecorder, 'recordOncePerMinute'>;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  policyOf: (cluster: string) => ReplacementPolicy;
  confirm: (record: ReplacementRecord) => Confirmation;
  /** The node is Ready, by its health. */
  isReady: (cluster: string, node: string) => boolean;
  join: () => Pick<JoinFacts, 'endpoints' | 'caPins'>;
  /** A place at which tests end the process. */
  fault: (name: string) => void | Promise<void>;
}

/** One call of an action that has no time of its own. */
const actionMs = 5 * 60_000;
/** Cordoning, and taking it back, may take so long in all. */
const cordonMs = 60_000;
/** How long a cancelled replacement tries to get rid of its machine. */
const cancelDiscardMs = 10 * 60_000;
/** Waits are no longer than this: what changes meanwhile wakes a saga, but for the clock. */
const longestNapMs = 60_000;
const pollMs = 500;
/** After the store, or something else of our own, has failed. */
const mishapMs = { base: 1000, cap: 30_000 };
/** Between tries of an action: at least, and for what a person has to put right. */
const retryMs = { least: 250, base: 1000, cap: 5 * 60_000, precondition: { least: 30_000, base: 60_000, cap: 10 * 60_000 } };

interface Step {
  step: StepName;
  /** In all, over its repeats; then it is skipped. Absent: it is tried for ever. */
  withinMs?: number;
  call: (provisioner: NodeProvisioner, context: ActionCall, leftMs: number) => Promise<{ message: string }>;
  /** The record, and what is written with it, once the step is over. */
  over: (record: ReplacementRecord) => RecordChange | Promise<RecordChange>;
}

/**
 * Runs one replacement to its end (invariant 14). All that it knows is in the record: each step is written down before it is begun and after it is done, and is called with the same key
 * however often it is begun, so that whoever takes the record up after a crash goes on where it was left.
 */
export class ReplacementSaga {
  readonly cluster: string;
  readonly id: string;
  readonly #options: SagaOptions;
  readonly #stop = new AbortController();
  #interruption = new AbortController();
  #nap: AbortController | undefined;
  #poked = false;
  #running: Promise<void> | undefined;
  #mishaps = 0;
  /** Of the present attempt, by the monotonic clock of this process: what a coordinator was away does not count against a machine. */
  #deadline: { attempt: number; atMs: number } | undefined;
  /** Secrets are not stored: after a crash another token is made. */
  #token: { attempt: number; text: string; expiresAtMs: number } | undefined;

  constructor(cluster: string, id: string, options: SagaOptions) {
    this.cluster = cluster;
    this.id = id;
    this.#options = options;
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
          backoffMs({ attempt: this.#mishaps, draw: random(), baseMs: mishapMs.base, capMs: mishapMs.cap, hintMs: retryMs.least }),
        );
      }
    }
  }

  /** One step, or one wait. True: the replacement has ended. */
  async #turn(): Promise<boolean> {
    const { records, model, pauses, clock } = this.#options;
    const record = records.get(this.cluster, this.id)?.record;
    if (!record) return true;
    const joined = record.newNode !== '' && isJoined(model, this.cluster, record.newNode);
    const nowMs = clock.nowMs();
    const todo = nextTodo(record, { paused: pauses.of(this.cluster) !== undefined, joined, nowMs });
    if (todo.type === 'ended') return true;
    if (todo.type === 'wait') await this.#sleep(Math.min(longestNapMs, (todo.untilMs ?? nowMs + longestNapMs) - nowMs));
    else await this.#act(todo.act, record);
    return false;
  }

  #act(act: Act, record: ReplacementRecord): Promise<void> {
    switch (act) {
      case 'Cordon':
        return this.#step(record, {
          step: 'Cordon',
          withinMs: Math.min(cordonMs, this.#drainMs()),
          call: (provisioner, context) => provisioner.cordon(context),
          over: (after) => ({ record: { ...after, step: 'Drain' } }),
        });
      case 'Drain':
        return this.#step(record, {
          step: 'Drain',
          withinMs: this.#drainMs(),
          call: (provisioner, context, timeoutMs) => provisioner.drain({ ...context, timeoutMs }),
          over: (after) => ({ record: { ...after, step: 'Remove' } }),
        });
      case 'Remove':
        return this.#remove(record);
      case 'Allocate':
        return this.#allocate(record);
      case 'Create':
        return this.#create(record);
      case 'Join':
        return this.#await(record, 'Join', (name) => isJoined(this.#options.model, this.cluster, name));
      case 'Verify':
        return this.#await(record, 'Verify', (name) => this.#options.isReady(this.cluster, name));
      case 'Discard':
        return this.#discard(record);
      case 'Uncordon':
        return this.#step(record, {
          step: 'Uncordon',
          withinMs: cordonMs,
          call: (provisioner, context) => provisioner.uncordon(context),
          over: (after) => ({ record: after }),
        });
      case 'GiveUp':
        return this.#giveUp(
          record,
          `the replacement was cancelled by ${record.cancel?.by ?? 'an admin'}`,
          ({ identitySerials }) => identitySerials.length > 0,
        );
      case 'End':
        return this.#end(record);
    }
  }

  #drainMs(): number {
    return this.#options.policyOf(this.cluster).drainTimeoutSeconds * 1000;
  }

  /** Calls the provisioner for a step; records its begin and its end, or its failure and when it is tried again. */
  async #step(record: ReplacementRecord, { step, withinMs, call, over }: Step): Promise<void> {
    const { clock } = this.#options;
    const current = await this.#begin(record, step);
    const startedAtMs = stepOf(current, step)?.startedAtMs ?? clock.nowMs();
    const leftMs = withinMs === undefined ? actionMs : startedAtMs + withinMs - clock.nowMs();
    if (leftMs <= 0) return this.#finish(step, 'Skipped', current.message || 'its time is over', over);
    let message: string;
    try {
      message = (await this.#call(current, step, Math.min(leftMs, actionMs), (p, context) => call(p, context, leftMs))).message;
    } catch (caught) {
      const stillMs = withinMs === undefined ? undefined : startedAtMs + withinMs - clock.nowMs();
      return this.#failed(step, caught, stillMs, over);
    }
    await this.#fault(step, 'acted');
    await this.#finish(step, 'Done', message, over);
  }

  async #failed(step: StepName, caught: unknown, leftMs: number | undefined, over: Step['over']): Promise<void> {
    if (this.#stop.signal.aborted) throw caught;
    const error = toEvercertError(caught);
    // Broken off because the replacement was cancelled: the record says what comes next.
    if (error.code === 'Cancelled') return;
    if (leftMs !== undefined && leftMs <= 0) return this.#finish(step, 'Skipped', error.message, over);
    await this.#retryLater(step, error, leftMs);
  }

  async #retryLater(step: StepName, error: EvercertError, leftMs = Number.POSITIVE_INFINITY): Promise<void> {
    const { records, clock, random, events, logger } = this.#options;
    const after = await records.update(this.cluster, this.id, (record) => {
      const delayMs = Math.min(leftMs, retryDelayMs(error, record.failures + 1, random()));
      return { record: failed(record, step, { message: error.message, nextAttemptAtMs: clock.nowMs() + delayMs }) };
    });
    logger.debug('a step of a replacement failed', { replacement: this.id, step, code: error.code, error: error.message });
    // That somebody else has not made the machine yet is no failure.
    if (step === 'Allocate' && error.code === 'Unavailable') return;
    events.recordOncePerMinute(`replacement/${this.id}`, [step, error.code], {
      cluster: this.cluster,
      node: after.node,
      actor: `coordinator/replacement/${this.id}`,
      reason: 'ReplacementStepFailed',
      source: 'certificate-renewal-worker',
      warning: true,
      errorCode: error.code,
      message: `replacement ${this.id}: ${step} failed (tries so far: ${after.failures}), it is tried again: ${error.message}`,
    });
  }

  /** Up to the transaction of the withdrawal everything can be taken back; it is asked once more whether that is right, and written only while nothing is paused. */
  async #remove(record: ReplacementRecord): Promise<void> {
    const { records, swap, confirm, clock } = this.#options;
    if (record.withdrawnAtMs === undefined) {
      const current = await this.#begin(record, 'Remove');
      const confirmation = confirm(current);
      if (confirmation.type === 'recovered') {
        await records.update(this.cluster, this.id, (before) => ({
          record: { ...before, cancel: { by: 'coordinator', atMs: clock.nowMs(), reason: confirmation.message } },
        }));
        return;
      }
      if (confirmation.type === 'wait') {
        await this.#say(confirmation.message);
        await this.#sleep(2 * pollMs);
        return;
      }
      const after = await records.update(this.cluster, this.id, (before) =>
        before.cancel || before.withdrawnAtMs !== undefined ? undefined : swap.withdrawal(before),
      );
      if (after.withdrawnAtMs === undefined) return;
      await this.#options.fault('replacement-remove-withdrawn');
    }
    await this.#step(records.get(this.cluster, this.id)?.record ?? record, {
      step: 'Remove',
      call: (provisioner, context) => provisioner.remove(context),
      over: (after) => ({ record: { ...after, step: 'Create' } }),
    });
  }

  async #allocate(record: ReplacementRecord): Promise<void> {
    const { records, swap } = this.#options;
    let told: NewNode | undefined;
    await this.#step(record, {
      step: 'Allocate',
      call: async (provisioner, context) => {
        told = await provisioner.allocate(context);
        await swap.checkNew(record, told);
        // Its addresses may be the new node's.
        if (told.name !== record.node) await records.update(this.cluster, this.id, (before) => swap.departure(before));
        // Tried here, so that what cannot be registered is a failure of this step, and is shown.
        await swap.registration(record, told);
        return { message: told.name === record.node ? '' : `the new machine is node ${told.name}` };
      },
      over: (after) => swap.registration(after, told as NewNode),
    });
  }

  /** joinTimeout counts from the begin of the call that succeeds: a provisioner that fails for long leaves the machine its whole time. */
  async #create(record: ReplacementRecord): Promise<void> {
    const { records, clock, policyOf, model } = this.#options;
    const joinMs = policyOf(this.cluster).joinTimeoutSeconds * 1000;
    await this.#step(record, {
      step: 'Create',
      call: async (provisioner, context) => {
        this.#deadline = { attempt: record.attempt, atMs: clock.monotonicMs() + joinMs };
        const token = await this.#freshToken(joinMs);
        const current = records.get(this.cluster, this.id)?.record ?? record;
        const join = { token: token.text, tokenExpiresAtMs: token.expiresAtMs, ...this.#options.join() };
        return provisioner.create({ ...context, newNode: newNodeOf(model, current), join });
      },
      over: (after) => ({ record: { ...after, step: 'Join', message: `waits for node ${after.newNode} to join` } }),
    });
  }

  /** The one that this process made for the attempt, while it is good for long enough; else another. */
  async #freshToken(joinMs: number): Promise<{ text: string; expiresAtMs: number }> {
    const { records, swap, clock } = this.#options;
    const known = this.#token;
    const nowMs = clock.nowMs();
    let drafted: { text: string; expiresAtMs: number } | undefined;
    await records.update(this.cluster, this.id, (record) => {
      const started = { ...record, attemptStartedAtMs: nowMs };
      if (known && known.attempt === record.attempt && known.expiresAtMs - nowMs >= joinMs) {
        drafted = known;
        return { record: started };
      }
      // Twice its time: a try that fails must not make a new one each time.
      const { draft, change } = swap.token(started, Math.ceil(Math.min(2 * joinMs, longestTokenMs) / 1000));
      drafted = { text: draft.token, expiresAtMs: draft.record.expiresAtMs };
      this.#token = { attempt: record.attempt, ...drafted };
      return change;
    });
    return drafted as { text: string; expiresAtMs: number };
  }

  /** Join and Verify: nothing is called, it is waited for what the new node does. */
  async #await(record: ReplacementRecord, step: 'Join' | 'Verify', isSo: (name: string) => boolean): Promise<void> {
    const { clock, policyOf } = this.#options;
    const current = await this.#begin(record, step);
    const joinMs = policyOf(this.cluster).joinTimeoutSeconds * 1000;
    if (this.#deadline?.attempt !== record.attempt) this.#deadline = { attempt: record.attempt, atMs: clock.monotonicMs() + joinMs };
    if (isSo(current.newNode)) {
      await this.#fault(step, 'acted');
      if (step === 'Verify') return this.#succeed();
      return this.#finish('Join', 'Done', `node ${current.newNode} has joined`, (after) => ({
        record: { ...after, step: 'Verify', message: `waits for node ${after.newNode} to be Ready` },
      }));
    }
    if (clock.monotonicMs() >= this.#deadline.atMs) {
      const what = step === 'Join' ? 'did not join' : 'joined, but was not Ready';
      return this.#giveUp(current, `node ${current.newNode} ${what} within ${Math.round(joinMs / 1000)} s`, () => isSo(current.newNode));
    }
    await this.#sleep(Math.min(pollMs, this.#deadline.atMs - clock.monotonicMs()));
  }

  async #succeed(): Promise<void> {
    const { records, swap, clock } = this.#options;
    await records.update(this.cluster, this.id, async (record) => {
      if (record.cancel) return undefined;
      const nowMs = clock.nowMs();
      const part = await swap.ending(record);
      const other = record.newNode === record.node ? '' : ` by ${record.newNode}`;
      const message = `replaced node ${record.node}${other} in ${Math.round((nowMs - record.createdAtMs) / 1000)} s`;
      const verified = finished(record, 'Verify', { result: 'Done', message: `node ${record.newNode} is Ready`, nowMs });
      return {
        record: { ...verified, state: 'Succeeded', step: 'Done', message, finishedAtMs: nowMs, tokenIds: [] },
        ...part,
        operations: [
          ...part.operations,
          swap.event(record, { reason: 'ReplacementSucceeded', message: `replacement ${record.id}: ${message}` }),
        ],
      };
    });
    await this.#fault('Verify', 'done');
  }

  /** From here on the machine of this attempt is a stranger; `unless` is asked in the transaction that makes it one. */
  async #giveUp(record: ReplacementRecord, why: string, unless: (node: { identitySerials: readonly string[] }) => boolean): Promise<void> {
    await this.#options.records.update(this.cluster, this.id, (before) =>
      before.discarding !== undefined || before.attempt !== record.attempt ? undefined : this.#options.swap.givingUp(before, why, unless),
    );
    this.#token = undefined;
  }

  async #discard(record: ReplacementRecord): Promise<void> {
    const { swap, model, policyOf, clock, random } = this.#options;
    await this.#step(record, {
      step: 'Discard',
      ...(record.cancel && { withinMs: cancelDiscardMs }),
      call: (provisioner, context) => provisioner.discard({ ...context, newNode: newNodeOf(model, record) }),
      over: async (after) => {
        const part = await swap.discarded(after);
        const { discarding: why = '', attemptStartedAtMs: _over, ...rest } = after;
        if (after.cancel) return { record: rest, ...part };
        const { backoffSeconds, maxBackoffSeconds } = policyOf(this.cluster);
        const waitMs = Math.min(maxBackoffSeconds, backoffSeconds * 2 ** Math.min(after.attempt - 1, 30)) * 1000;
        const nextAttemptAtMs = clock.nowMs() + Math.round(waitMs * (1 + random() / 10));
        const message = `${why}; attempt ${after.attempt + 1} begins at ${new Date(nextAttemptAtMs).toISOString()}`;
        const event = swap.event(after, { reason: 'ReplacementBackingOff', warning: true, message: `replacement ${this.id}: ${message}` });
        return {
          record: {
            ...rest,
            state: 'BackingOff',
            step: 'Create',
            attempt: after.attempt + 1,
            newNode: '',
            machine: '',
            message,
            nextAttemptAtMs,
          },
          ...part,
          operations: [...part.operations, event],
        };
      },
    });
  }

  /** The end of a replacement that was cancelled; what could be undone is undone by now. */
  async #end(record: ReplacementRecord): Promise<void> {
    const { records, swap, clock, provisioners, model } = this.#options;
    await records.update(this.cluster, this.id, async (before) => {
      const joined = before.newNode !== '' && isJoined(model, this.cluster, before.newNode);
      const sameName = before.newNode === '' ? (provisioners.get(before.provisioner)?.sameName ?? true) : before.newNode === before.node;
      const gone = before.withdrawnAtMs !== undefined && !sameName;
      const erase = gone ? [before.node, ...(joined || before.newNode === '' ? [] : [before.newNode])] : [];
      const part = await swap.ending(before, erase);
      const message = endMessage(before, { joined, sameName });
      const { nextAttemptAtMs: _none, ...rest } = before;
      return {
        record: { ...rest, state: 'Cancelled', message, finishedAtMs: clock.nowMs(), tokenIds: [], failures: 0 },
        ...part,
        operations: [
          ...part.operations,
          swap.event(record, { reason: 'ReplacementCancelled', warning: true, message: `replacement ${this.id}: ${message}` }),
        ],
      };
    });
  }

  /** Durable before anything is done. */
  async #begin(record: ReplacementRecord, step: StepName): Promise<ReplacementRecord> {
    const { records, clock } = this.#options;
    if (!begun(record, step, clock.nowMs())) return record;
    const after = await records.update(this.cluster, this.id, (before) => {
      const next = begun(before, step, clock.nowMs());
      return next && { record: next.state === 'BackingOff' ? { ...next, state: 'Running' } : next };
    });
    await this.#fault(step, 'begun');
    return after;
  }

  async #finish(step: StepName, result: 'Done' | 'Skipped', message: string, over: Step['over']): Promise<void> {
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
      return { ...change, operations: [...(change.operations ?? []), swap.event(before, event)] };
    });
    await this.#fault(step, 'done');
  }

  #call<T>(
    record: ReplacementRecord,
    step: StepName,
    limitMs: number,
    action: (provisioner: NodeProvisioner, context: ActionCall) => Promise<T>,
  ): Promise<T> {
    const { provisioners, calls } = this.#options;
    const provisioner = provisioners.get(record.provisioner);
    if (!provisioner) throw unknownProvisioner(record.provisioner, provisioners.names());
    return calls.run({ limitMs, signals: [this.#stop.signal, this.#interruption.signal] }, (signal) =>
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
  async #say(message: string): Promise<void> {
    await this.#options.records.update(this.cluster, this.id, (record) =>
      record.message === message ? undefined : { record: { ...record, message } },
    );
  }

  async #fault(step: StepName, when: 'begun' | 'acted' | 'done'): Promise<void> {
    await this.#options.fault(`replacement-${step.toLowerCase()}-${when}`);
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

/** Tokens live no longer than an admin could make them. */
const longestTokenMs = 30 * 86_400_000;

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

function isJoined(model: Pick<Model, 'node'>, cluster: string, name: string): boolean {
  return (model.node(cluster, name)?.identitySerials.length ?? 0) > 0;
}

/** The new node as it is registered. */
function newNodeOf(model: Pick<Model, 'node'>, { cluster, newNode, machine }: ReplacementRecord): NewNode {
  const node = model.node(cluster, newNode);
  return {
    name: newNode,
    machine,
    labels: node?.labels ?? {},
    addresses: node?.registeredAddresses ?? [],
    dnsNames: node?.dnsNames ?? [],
  };
}

function endMessage(record: ReplacementRecord, { joined, sameName }: { joined: boolean; sameName: boolean }): string {
  const { cancel, node, newNode, withdrawnAtMs } = record;
  const who = `cancelled by ${cancel?.by ?? 'an admin'}${cancel?.reason ? ` (${cancel.reason})` : ''}`;
  if (withdrawnAtMs === undefined) {
    const again =
      cancel?.by === 'coordinator' ? '' : `; it is replaced again when it is due, unless it is exempt ('evercert cordon ${node}')`;
    return `${who}: node ${node} stays${again}`;
  }
  const removed = stepOf({ ...record, attempt: 1 }, 'Remove')?.finishedAtMs !== undefined;
  const machine = removed ? 'its machine was removed' : 'its machine may still be there and is accepted no more: see that it is removed';
  if (joined) return `${who}: node ${node} was taken out of service (${machine}), and node ${newNode} has joined and stays`;
  const next = sameName
    ? `the node stays registered, without a machine: let one join with 'evercert token create --role worker --node-name ${node}'`
    : 'the node was deleted';
  return `${who}: node ${node} was taken out of service (${machine}); ${next}`;
}

function unknownProvisioner(name: string, known: readonly string[]): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `this coordinator has no provisioner "${name}" (it has ${known.join(', ') || 'none'}): configure it under 'provisioners' in coordinator.yaml`,
  );
}
