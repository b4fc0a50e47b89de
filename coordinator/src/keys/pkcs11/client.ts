import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Failure, OpenCall, Reply, TokenAnswers, TokenCall } from './protocol.ts';

export interface TokenClientOptions {
  open: OpenCall;
  environment: Readonly<Record<string, string>>;
  timeoutMs: number;
  clock: Clock;
  logger: Logger;
}

/** Calls under way; beyond, callers are told to come back. */
const maxPending = 4096;
/** A token that could not be opened is left alone so long. */
const pauseMs = 1000;
/** It is opened as often, with so long between, before it counts as away. */
const openAttempts = 3;
const reopenMs = 200;
const helperFile = fileURLToPath(new URL('./helper.ts', import.meta.url));

/** What may be asked again of a new process: it does no harm twice. */
const repeatable: ReadonlySet<TokenCall['type']> = new Set(['list', 'find', 'sign', 'delete']);

/**
 * Speaks with a token through a process of its own. When the token was away, the library failed, or the process ended, the next call starts a new one, which logs in again.
 * Errors: Unavailable (the token is away; come back), FailedPrecondition (the token refuses; named), Overloaded.
 */
export class TokenClient {
  readonly #options: TokenClientOptions;
  #helper: Promise<Helper> | undefined;
  #failed: { atMs: number; error: unknown } | undefined;
  #closed = false;

  constructor(options: TokenClientOptions) {
    this.#options = options;
  }

  async call<C extends TokenCall>(call: C): Promise<TokenAnswers[C['type']]> {
    const helper = await this.#ready();
    try {
      return (await helper.call(call)) as TokenAnswers[C['type']];
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      this.#drop(helper, error);
      if (!repeatable.has(call.type)) throw error.toCaller();
    }
    const next = await this.#ready();
    try {
      return (await next.call(call)) as TokenAnswers[C['type']];
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      this.#drop(next, error);
      throw error.toCaller();
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const helper = await this.#helper?.catch(() => undefined);
    this.#helper = undefined;
    await helper?.end();
  }

  async #ready(): Promise<Helper> {
    const helper = await this.#started();
    if (helper.isAlive) return helper;
    // It ended while nobody asked it anything.
    this.#drop(helper, new GoneError('its process ended'));
    return this.#started();
  }

  #started(): Promise<Helper> {
    if (this.#closed) return Promise.reject(new EvercertError('Unavailable', 'the keys on the token are closed: the coordinator stops'));
    if (this.#helper !== undefined) return this.#helper;
    const starting = this.#start();
    this.#helper = starting;
    // A failure is not kept: the next call tries again.
    starting.catch(() => {
      if (this.#helper === starting) this.#helper = undefined;
    });
    return starting;
  }

  async #start(): Promise<Helper> {
    const { clock, logger } = this.#options;
    const failed = this.#failed;
    // A wrong PIN is not tried twice: three of them lock the token.
    if (failed && (!isRetryable(failed.error) || clock.monotonicMs() - failed.atMs < pauseMs)) throw failed.error;
    try {
      const helper = await this.#logIn();
      this.#failed = undefined;
      return helper;
    } catch (error) {
      this.#failed = { atMs: clock.monotonicMs(), error };
      logger.error('cannot open the token', { error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  /** A token that another process changes at this moment may seem to be away. */
  async #logIn(): Promise<Helper> {
    const { clock, logger, open } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      const helper = new Helper(this.#options);
      try {
        const { label, serial } = (await helper.call(open)) as TokenAnswers['open'];
        logger.info('opened the token', { label, serial, pid: helper.pid });
        return helper;
      } catch (thrown) {
        await helper.end();
        const error = thrown instanceof GoneError ? thrown.toCaller() : thrown;
        if (!isRetryable(error) || attempt >= openAttempts || this.#closed) throw error;
      }
      await clock.sleep(reopenMs);
    }
  }

  #drop(helper: Helper, error: GoneError): void {
    if (helper.isEnding) return;
    this.#helper = undefined;
    this.#options.logger.warn('the token is gone; logging in again', { error: error.message });
    helper.end().catch((cause) => this.#options.logger.error('cannot end the process of the token', { error: String(cause) }));
  }
}

/** A new start of the library may help. */
class GoneError extends Error {
  toCaller(): EvercertError {
    return new EvercertError('Unavailable', `the token with the CA keys cannot be used now: ${this.message}; it is tried again`, {
      cause: this,
    });
  }
}

interface Pending {
  type: TokenCall['type'];
  resolve: (answer: unknown) => void;
  reject: (error: unknown) => void;
}

/** One such process, from its start to its end. */
class Helper {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  #nextId = 0;
  #timer: Timer | undefined;
  isEnding = false;

  constructor({ environment, clock, timeoutMs, open }: TokenClientOptions) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    const cache = process.env['NODE_COMPILE_CACHE'];
    this.#child = fork(helperFile, [], {
      // One thread for each session, and one for looks and changes.
      env: {
        PATH: '/usr/bin:/bin',
        UV_THREADPOOL_SIZE: String(open.sessions + 1),
        ...(cache && { NODE_COMPILE_CACHE: cache }),
        ...environment,
      },
      execArgv: ['--disable-sigusr1'],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => this.#answered(message as Reply));
    this.#exited = new Promise((resolve) => {
      const over = (why: string): void => {
        this.#fail(new GoneError(why));
        resolve();
      };
      this.#child.once('error', (error) => over(`its process cannot be started: ${error.message}`));
      this.#child.once('exit', (code, signal) => over(`its process ended (${signal ?? `exit code ${code}`})`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isAlive(): boolean {
    return !this.isEnding && this.#child.connected && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  call(call: TokenCall): Promise<unknown> {
    if (!this.isAlive) return Promise.reject(new GoneError('its process ended'));
    if (this.#pending.size >= maxPending) return Promise.reject(new EvercertError('Overloaded', 'too many signatures wait for the token'));
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { type: call.type, resolve, reject });
      if (this.#timer === undefined) this.#watch();
      this.#child.send({ id, call }, (error) => {
        if (error !== null) this.#fail(new GoneError('its process cannot be reached'));
      });
    });
  }

  async end(): Promise<void> {
    this.isEnding = true;
    this.#fail(new GoneError('it was let go'));
    if (this.#child.connected) this.#child.disconnect();
    // It gives itself a second to log out.
    const timer = this.#clock.after(3 * pauseMs, () => this.#child.kill('SIGKILL'));
    await this.#exited;
    timer.cancel();
  }

  #answered(message: Reply): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    this.#pending.delete(message.id);
    this.#watch();
    if ('answer' in message) pending.resolve(message.answer);
    else pending.reject(errorOf(message.failure));
  }

  /** Time without any answer counts, not that of one call: many may wait their turn. */
  #watch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#pending.size === 0) return;
    const making = [...this.#pending.values()].some(({ type }) => type === 'generate' || type === 'import');
    const limitMs = making ? 10 * this.#timeoutMs : this.#timeoutMs;
    this.#timer = this.#clock.after(limitMs, () => {
      this.#fail(new GoneError(`no answer within ${limitMs / 1000} s`));
      this.#child.kill('SIGKILL');
    });
  }

  #fail(error: GoneError): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) reject(error);
  }
}

function errorOf({ code, message, gone }: Failure): Error {
  return gone ? new GoneError(message) : new EvercertError(code, message);
}

function isRetryable(error: unknown): boolean {
  return error instanceof EvercertError && error.code === 'Unavailable';
}
