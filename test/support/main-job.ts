/** The README's own command, run as a person runs it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Summary } from '@evercert/local';
import { repositoryRoot } from './tools.ts';

export class MainJob {
  readonly runDir: string;
  readonly lines: string[] = [];
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  #errors = '';
  #onLine: (line: string) => void = () => undefined;

  /** `npm start -- ARGS --run-dir RUNDIR`, as the head of a process group of its own. */
  constructor(runDir: string, args: readonly string[]) {
    this.runDir = runDir;
    const child = spawn('npm', ['start', '--', ...args, '--run-dir', runDir], {
      cwd: repositoryRoot,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.#onLine(line);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#errors += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) => resolve({ status, signal }));
    });
  }

  /** Resolves at the first line that matches; rejects when the command ends before. */
  line(pattern: RegExp): Promise<string> {
    const found = this.lines.find((line) => pattern.test(line));
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      this.#onLine = (line) => {
        if (pattern.test(line)) resolve(line);
      };
      this.ended.then(() => reject(new Error(`it ended without a line ${pattern}\n${this.output}`)), reject);
    });
  }

  /** As Ctrl-C: to every process of the group. */
  interrupt(): void {
    if (this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGINT');
  }

  /** For `after`: nothing of it runs on when a test failed. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined)
      process.kill(-this.#child.pid, 'SIGKILL');
    await this.ended;
  }

  get output(): string {
    return `${this.lines.join('\n')}\n${this.#errors}`;
  }

  /** The last line, which `--summary json` makes a JSON object. */
  get summary(): Summary {
    return JSON.parse(this.lines.at(-1) ?? '') as Summary;
  }

  /** Command lines of processes that run with anything in its run folder. */
  processes(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .map(commandLine)
      .filter((line) => line.includes(this.runDir));
  }
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch (error) {
    // It has ended since it was listed.
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code))) return '';
    throw error;
  }
}
