import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ActionCall, ActionReport, AllocateCall, CreateCall, DiscardCall, DrainCall, NewNode, NodeProvisioner } from '../types.ts';
import type { CommandProvisionerConfig } from './config.ts';
import { LineLog } from './lines.ts';
import type { RunNotes } from './notes.ts';
import { outcomeOf } from './outcome.ts';
import { programFault } from './programs.ts';
import { type Answer, type CommandAction, commandActions, requestText } from './protocol.ts';
import { redactor } from './redact.ts';
import { runProgram } from './run.ts';

const defaultTimeoutMs = 5 * 60_000;

export interface Step {
  argv: readonly [string, ...string[]];
  timeoutMs: number | undefined;
}

export interface CommandProvisionerParts {
  config: CommandProvisionerConfig;
  notes: RunNotes;
  /** Of the executables. */
  env: NodeJS.ProcessEnv;
  clock: Clock;
  logger: Logger;
}

/** Machines are made and removed by executables of the operator's, one for each step. */
export class CommandProvisioner implements NodeProvisioner {
  readonly type = 'command';
  readonly sameName: boolean;
  readonly actionTimeoutMs: number;
  readonly #parts: CommandProvisionerParts;
  readonly #closing = new AbortController();
  /** The run of each replacement that is under way, or the last in its queue: never two at once, whoever asks. */
  readonly #runs = new Map<string, Promise<unknown>>();

  constructor(parts: CommandProvisionerParts) {
    this.#parts = parts;
    this.sameName = parts.config.allocate === undefined;
    const limits = commandActions.map((action) => stepOf(parts.config, action)?.timeoutMs ?? defaultTimeoutMs);
    // A little more: it is for the executable to be told that its time is over.
    this.actionTimeoutMs = Math.max(...limits) + 10_000;
  }

  cordon(call: ActionCall): Promise<ActionReport> {
    return this.#act('cordon', call);
  }

  uncordon(call: ActionCall): Promise<ActionReport> {
    return this.#act('uncordon', call);
  }

  drain(call: DrainCall): Promise<ActionReport> {
    return this.#act('drain', call, call.timeoutMs);
  }

  remove(call: ActionCall): Promise<ActionReport> {
    return this.#act('remove', call);
  }

  create(call: CreateCall): Promise<ActionReport> {
    return this.#act('create', call);
  }

  discard(call: DiscardCall): Promise<ActionReport> {
    return this.#act('discard', call);
  }

  async allocate(call: AllocateCall): Promise<NewNode> {
    const { node } = call;
    const step = stepOf(this.#parts.config, 'allocate');
    if (step === undefined) return { ...node, machine: '' };
    const { nodeName, machine, addresses = [] } = await this.#run('allocate', step, call, step.timeoutMs ?? defaultTimeoutMs);
    if (nodeName === undefined || nodeName === node.name) {
      const what = nodeName === undefined ? 'named no node' : `named ${node.name}, which is the node that is replaced`;
      const expected =
        'expected {"nodeName": NAME} with the new node\'s own name; leave `allocate` out where new machines are called as the old ones were';
      throw new EvercertError('FailedPrecondition', `allocate ${what}; ${expected}`);
    }
    return { name: nodeName, machine, labels: node.labels, addresses, dnsNames: [] };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#runs.values());
  }

  async #act(action: Exclude<CommandAction, 'allocate'>, call: ActionCall, mostMs = Number.POSITIVE_INFINITY): Promise<ActionReport> {
    const step = stepOf(this.#parts.config, action);
    if (step === undefined) return { message: '' };
    const fallbackMs = Number.isFinite(mostMs) ? mostMs : defaultTimeoutMs;
    const { message, machine } = await this.#run(action, step, call, Math.min(step.timeoutMs ?? fallbackMs, mostMs));
    return { message: message || (machine && `machine ${machine}`) };
  }

  #run(action: CommandAction, step: Step, call: ActionCall, timeoutMs: number): Promise<Answer> {
    const replacement = `${call.cluster}/${call.replacementId}`;
    const before = this.#runs.get(replacement) ?? Promise.resolve();
    const run = before.then(() => this.#runNow(replacement, action, step, call, timeoutMs));
    const settled = run.then(
      () => undefined,
      () => undefined,
    );
    this.#runs.set(replacement, settled);
    void settled.then(() => {
      if (this.#runs.get(replacement) === settled) this.#runs.delete(replacement);
    });
    return run;
  }

  async #runNow(replacement: string, action: CommandAction, step: Step, call: ActionCall, timeoutMs: number): Promise<Answer> {
    const { notes, clock, env } = this.#parts;
    const [file] = step.argv;
    const signal = AbortSignal.any([call.signal, this.#closing.signal]);
    if (signal.aborted)
      throw new EvercertError(
        'Cancelled',
        `${action} of ${call.node.name} was not begun: the coordinator stops, or the action was given up`,
      );
    const fault = await programFault(file);
    if (fault !== undefined) throw new EvercertError('FailedPrecondition', `${action} cannot be run: ${fault}`);
    const fields = { cluster: call.cluster, node: call.node.name, action, idempotencyKey: call.idempotencyKey };
    const logger = this.#parts.logger.child(fields);
    const earlier = await notes.endEarlier(replacement);
    if (earlier !== undefined) logger.warn('ended a run that an earlier process of the coordinator had left', { earlier });
    const redact = redactor(call);
    const stderr = new LineLog(logger, redact);
    const startedMs = clock.monotonicMs();
    try {
      const input = requestText(action, call, timeoutMs);
      const started = (pid: number): Promise<void> => notes.add(replacement, pid, call.idempotencyKey);
      const result = await runProgram({ argv: step.argv, env, input, timeoutMs, clock, signal, stderr, started }).catch((cause: Error) => {
        throw new EvercertError('FailedPrecondition', `${action} cannot be run: ${cause.message}`, { cause });
      });
      logger.debug("a step's program has ended", {
        end: result.end,
        exitCode: result.code,
        durationMs: Math.round(clock.monotonicMs() - startedMs),
      });
      return outcomeOf({ action, file, result, redact, lastLine: stderr.last, timeoutMs });
    } finally {
      await notes.remove(replacement);
    }
  }
}

/** `discard` is `remove` where nothing else is said. */
export function stepOf(config: CommandProvisionerConfig, action: CommandAction): Step | undefined {
  const configured = action === 'discard' ? (config.discard ?? config.remove) : config[action];
  if (configured === undefined) return undefined;
  return typeof configured === 'string'
    ? { argv: [configured], timeoutMs: undefined }
    : { argv: configured.command, timeoutMs: configured.timeout };
}
