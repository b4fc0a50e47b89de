import { EvercertError } from '@evercert/shared/errors';
import type { NewNode } from '../provisioning/types.ts';
import type { Model } from '../state/model.ts';
import { finished, idempotencyKey } from './progress.ts';
import type { SagaOptions } from './saga-options.ts';
import type { Steps } from './steps.ts';
import type { ReplacementRecord } from './types.ts';

/** How long a cancelled replacement tries to get rid of its machine. */
const cancelDiscardMs = 10 * 60_000;
const pollMs = 500;
/** A back-off is stretched by so much at the most, so that those of many clusters do not end at once. */
export const longestBackoff = 1.1;
/** Tokens live no longer than an admin could make them. */
const longestTokenMs = 30 * 86_400_000;

export interface NewMachineOptions {
  saga: SagaOptions;
  steps: Steps;
  /** Ends early when something changes. */
  sleep: (ms: number) => Promise<void>;
}

/** The half of a replacement that comes after the removal: the new machine is made, its node joins and is Ready; or it is discarded, and another is made later. */
export class NewMachine {
  readonly #options: SagaOptions;
  readonly #steps: Steps;
  readonly #sleep: (ms: number) => Promise<void>;
  /** Of the present attempt, by the monotonic clock of this process: what a coordinator was away does not count against a machine. */
  #deadline: { attempt: number; atMs: number } | undefined;
  /** Secrets are not stored: after a crash another token is made. */
  #token: { attempt: number; text: string; expiresAtMs: number } | undefined;

  constructor({ saga, steps, sleep }: NewMachineOptions) {
    this.#options = saga;
    this.#steps = steps;
    this.#sleep = sleep;
  }

  async allocate(record: ReplacementRecord): Promise<void> {
    const { records, swap } = this.#options;
    let told: NewNode | undefined;
    await this.#steps.run(record, {
      step: 'Allocate',
      call: async (provisioner, context) => {
        told = await provisioner.allocate(context);
        await swap.checkNew(record, told);
        // Its addresses may be the new node's.
        if (told.name !== record.node) await records.update(this.#steps.cluster, this.#steps.id, (before) => swap.departure(before));
        // Tried here, so that what cannot be registered is a failure of this step, and is shown.
        await swap.registration(record, told);
        return { message: told.name === record.node ? '' : `the new machine is node ${told.name}` };
      },
      over: (after) => swap.registration(after, told as NewNode),
    });
  }

  /** joinTimeout counts from the begin of the call that succeeds: a provisioner that fails for long leaves the machine its whole time. */
  async create(record: ReplacementRecord): Promise<void> {
    const { records, clock, policyOf, model } = this.#options;
    const joinMs = policyOf(this.#steps.cluster).joinTimeoutSeconds * 1000;
    await this.#steps.run(record, {
      step: 'Create',
      call: async (provisioner, context) => {
        this.#deadline = { attempt: record.attempt, atMs: clock.monotonicMs() + joinMs };
        const token = await this.#freshToken(joinMs);
        const current = records.get(this.#steps.cluster, this.#steps.id)?.record ?? record;
        const join = { token: token.text, tokenExpiresAtMs: token.expiresAtMs, ...this.#options.join() };
        try {
          return await provisioner.create({ ...context, newNode: newNodeOf(model, current), join });
        } catch (error) {
          // No further try could make it: the next attempt is told of another one.
          if (error instanceof EvercertError && error.code === 'NotFound') await this.giveUp(record, error.message, () => false);
          throw error;
        }
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
    await records.update(this.#steps.cluster, this.#steps.id, (record) => {
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
  async waitFor(record: ReplacementRecord, step: 'Join' | 'Verify', isSo: (name: string) => boolean): Promise<void> {
    const { clock, policyOf } = this.#options;
    const current = await this.#steps.begin(record, step);
    const joinMs = policyOf(this.#steps.cluster).joinTimeoutSeconds * 1000;
    if (this.#deadline?.attempt !== record.attempt) this.#deadline = { attempt: record.attempt, atMs: clock.monotonicMs() + joinMs };
    if (isSo(current.newNode)) {
      await this.#steps.fault(step, 'acted');
      if (step === 'Verify') return this.#succeed();
      return this.#steps.finish('Join', 'Done', `node ${current.newNode} has joined`, (after) => ({
        record: { ...after, step: 'Verify', message: `waits for node ${after.newNode} to be Ready` },
      }));
    }
    if (clock.monotonicMs() >= this.#deadline.atMs) {
      const what = step === 'Join' ? 'did not join' : 'joined, but was not Ready';
      return this.giveUp(current, `node ${current.newNode} ${what} within ${Math.round(joinMs / 1000)} s`, () => isSo(current.newNode));
    }
    await this.#sleep(Math.min(pollMs, this.#deadline.atMs - clock.monotonicMs()));
  }

  async #succeed(): Promise<void> {
    const { records, swap, clock } = this.#options;
    await records.update(this.#steps.cluster, this.#steps.id, async (record) => {
      if (record.cancel) return undefined;
      const nowMs = clock.nowMs();
      const part = await swap.ending(record);
      const other = record.newNode === record.node ? '' : ` by ${record.newNode}`;
      const message = `replaced node ${record.node}${other} in ${Math.max(0, Math.round((nowMs - record.createdAtMs) / 1000))} s`;
      const verified = finished(record, 'Verify', { result: 'Done', message: `node ${record.newNode} is Ready`, nowMs });
      return {
        record: { ...verified, state: 'Succeeded', step: 'Done', message, finishedAtMs: nowMs, tokenIds: [] },
        ...part,
        operations: [
          ...part.operations,
          swap.event(record, {
            reason: 'ReplacementSucceeded',
            message: `replacement ${record.id}: ${message}`,
            details: { step: 'Verify', result: 'Done', idempotencyKey: idempotencyKey(record, 'Verify') },
          }),
        ],
      };
    });
    await this.#steps.fault('Verify', 'done');
  }

  /** From here on the machine of this attempt is a stranger; `unless` is asked in the transaction that makes it one. */
  async giveUp(record: ReplacementRecord, why: string, unless: (node: { identitySerials: readonly string[] }) => boolean): Promise<void> {
    await this.#options.records.update(this.#steps.cluster, this.#steps.id, (before) =>
      before.discarding !== undefined || before.attempt !== record.attempt ? undefined : this.#options.swap.givingUp(before, why, unless),
    );
    this.#token = undefined;
  }

  async discard(record: ReplacementRecord): Promise<void> {
    const { swap, model, policyOf, clock, random } = this.#options;
    await this.#steps.run(record, {
      step: 'Discard',
      ...(record.cancel && { withinMs: cancelDiscardMs }),
      call: (provisioner, context) => provisioner.discard({ ...context, newNode: newNodeOf(model, record) }),
      over: async (after) => {
        const part = await swap.discarded(after);
        const { discarding: why = '', attemptStartedAtMs: _over, ...rest } = after;
        if (after.cancel) return { record: rest, ...part };
        const { backoffSeconds, maxBackoffSeconds } = policyOf(this.#steps.cluster);
        const waitMs = Math.min(maxBackoffSeconds, backoffSeconds * 2 ** Math.min(after.attempt - 1, 30)) * 1000;
        const nextAttemptAtMs = clock.nowMs() + Math.round(waitMs * (1 + random() * (longestBackoff - 1)));
        const message = `${why}; attempt ${after.attempt + 1} begins at ${new Date(nextAttemptAtMs).toISOString()}`;
        const event = swap.event(after, {
          reason: 'ReplacementBackingOff',
          warning: true,
          message: `replacement ${this.#steps.id}: ${message}`,
        });
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
