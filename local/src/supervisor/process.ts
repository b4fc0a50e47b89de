import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { findDeathPact } from './death.ts';
import { childEnvironment, type Environment } from './environment.ts';
import type { Notify } from './events.ts';

export interface ProcessSpec {
  name: string;
  /** Absolute path or a name in PATH. */
  command: string;
  args: string[];
  cwd: string;
  /** Standard output and error are appended here. */
  logPath: string;
  /** SIGKILL so long after SIGTERM. */
  graceMs: number;
  /** Started again when it ends by itself, as systemd's Restart=always does. */
  autoRestart: boolean;
}

export interface ProcessExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const firstRestartDelayMs = 500;
const lastRestartDelayMs = 5000;
/** A run of at least so long starts the delays anew. */
const stableMs = 10_000;

/**
 * One child process under supervision. Whatever happens to this process, the child does not outlive it (see findDeathPact).
 * `start`, `stop` and `kill` are for one caller at a time.
 */
export class SupervisedProcess {
  readonly spec: ProcessSpec;
  /** Automatic restarts so far. */
  restarts = 0;
  /** Ends that nobody had asked for, each followed by a restart unless autoRestart is off. */
  unexpectedExits = 0;
  lastExit: ProcessExit | undefined;
  readonly #clock: Clock;
  readonly #notify: Notify;
  #child: ChildProcess | undefined;
  #exited: Promise<ProcessExit> | undefined;
  #wanted = false;
  #restart: Timer | undefined;
  #delayMs = firstRestartDelayMs;
  #startedMs = 0;

  constructor(spec: ProcessSpec, clock: Clock, notify: Notify) {
    this.spec = spec;
    this.#clock = clock;
    this.#notify = notify;
  }

  get name(): string {
    return this.spec.name;
  }

  /** Process id while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /**
   * Starts it and resolves once the operating system has. `env` holds for this run alone: a restart, automatic or not, begins without it, so that a
   * fault point set here fires once. Unavailable when the command cannot be run.
   */
  async start(env: Environment = {}): Promise<void> {
    if (this.#child) return;
    this.#wanted = true;
    this.#restart?.cancel();
    try {
      await this.#spawn(env);
    } catch (error) {
      this.#forgo();
      throw error;
    }
  }

  /** SIGTERM, and SIGKILL after the grace time. Not started again until `start`. */
  async stop(): Promise<void> {
    this.#forgo();
    const exited = this.#exited;
    if (!exited) return;
    this.signal('SIGTERM');
    const timer = this.#clock.after(this.spec.graceMs, () => {
      this.#notify('warn', `${this.name} did not end within ${this.spec.graceMs / 1000} s of SIGTERM: killing it`);
      this.signal('SIGKILL');
    });
    await exited;
    timer.cancel();
  }

  /** SIGKILL, as a power cut. Not started again until `start`. */
  async kill(): Promise<void> {
    this.#forgo();
    const exited = this.#exited;
    this.signal('SIGKILL');
    await exited;
  }

  /** Stops it and starts it again. */
  async restart(env: Environment = {}): Promise<void> {
    await this.stop();
    await this.start(env);
  }

  /** SIGKILL goes to the child's own children too, where it leads a process group. */
  signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    if (signal === 'SIGKILL' && findDeathPact().detached) process.kill(-pid, signal);
    else this.#child?.kill(signal);
  }

  /** Resolves at the end of the present run, with the last exit when it does not run. DeadlineExceeded after `timeoutMs`. */
  async waitForExit(timeoutMs: number): Promise<ProcessExit | undefined> {
    if (!this.#exited) return this.lastExit;
    const abort = new AbortController();
    const late = this.#clock.sleep(timeoutMs, abort.signal).then(
      () => Promise.reject(new EvercertError('DeadlineExceeded', `${this.name} still runs after ${timeoutMs / 1000} s`)),
      () => undefined,
    );
    const exit = await Promise.race([this.#exited, late]).finally(() => abort.abort());
    return exit ?? this.lastExit;
  }

  #forgo(): void {
    this.#wanted = false;
    this.#restart?.cancel();
  }

  async #spawn(env: Environment): Promise<void> {
    const { prefix, detached } = findDeathPact();
    const [command = '', ...args] = [...prefix, this.spec.command, ...this.spec.args];
    const log = openSync(this.spec.logPath, 'a', 0o600);
    const child = spawn(command, args, { cwd: this.spec.cwd, env: childEnvironment(env), detached, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    this.#startedMs = this.#clock.monotonicMs();
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(this.#onExit({ code, signal })));
      child.once('error', () => resolve(this.#onExit({ code: null, signal: null })));
    });
    try {
      await once(child, 'spawn');
    } catch (error) {
      throw new EvercertError('Unavailable', `cannot run ${this.spec.command} for ${this.name}: check that it is there and executable`, {
        cause: error,
      });
    }
  }

  #onExit(exit: ProcessExit): ProcessExit {
    this.#child = undefined;
    this.#exited = undefined;
    this.lastExit = exit;
    if (!this.#wanted) return exit;
    this.unexpectedExits += 1;
    const story = `${this.name} ended unexpectedly (${exit.signal ?? `exit code ${exit.code}`}; log: ${this.spec.logPath})`;
    if (!this.spec.autoRestart) {
      this.#notify('warn', story);
      return exit;
    }
    if (this.#clock.monotonicMs() - this.#startedMs >= stableMs) this.#delayMs = firstRestartDelayMs;
    this.#notify('warn', `${story}: starting it again`);
    this.#restart = this.#clock.after(this.#delayMs, () => this.#startAgain());
    this.#delayMs = Math.min(this.#delayMs * 2, lastRestartDelayMs);
    return exit;
  }

  #startAgain(): void {
    if (!this.#wanted || this.#child) return;
    this.restarts += 1;
    this.#spawn({}).catch((error: unknown) => this.#notify('warn', error instanceof Error ? error.message : String(error)));
  }
}
