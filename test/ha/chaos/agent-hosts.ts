/** The processes in which agents live, as the run drives them. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentSpec, Answer, Order, Statistics } from './messages.ts';

type Unnumbered<T> = T extends unknown ? Omit<T, 'order'> : never;

const program = join(import.meta.dirname, 'agent-host.ts');

/** A real agent has four of them for itself, in which it waits for the disk. */
const threads = 64;

export class AgentHosts {
  readonly #hosts: ChildProcess[] = [];
  readonly #hostOf = new Map<string, ChildProcess>();
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #orders = 0;
  #next = 0;

  /** `count` processes, each of which appends to a log of its own in the folder. */
  constructor(count: number, logs: string) {
    for (let index = 0; index < count; index += 1) {
      const log = openSync(join(logs, `agents-${index + 1}.log`), 'a', 0o600);
      const env = { ...process.env, UV_THREADPOOL_SIZE: String(threads) };
      const host = fork(program, [], { env, stdio: ['ignore', log, log, 'ipc'] });
      closeSync(log);
      host.on('message', (answer: Answer) => {
        this.#waiting.get(answer.order)?.(answer);
        this.#waiting.delete(answer.order);
      });
      host.on('exit', () => this.#fail(`a process with agents ended (log: ${logs})`));
      this.#hosts.push(host);
    }
  }

  get pids(): (number | undefined)[] {
    return this.#hosts.map(({ pid }) => pid);
  }

  async start(agent: AgentSpec): Promise<void> {
    const host = this.#hosts[this.#next % this.#hosts.length]!;
    this.#next += 1;
    this.#hostOf.set(agent.id, host);
    await this.#send(host, { kind: 'start', agent });
  }

  /** When it resolves, the agent runs no more. */
  async stop(id: string): Promise<void> {
    const host = this.#hostOf.get(id);
    this.#hostOf.delete(id);
    if (host) await this.#send(host, { kind: 'stop', id });
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#hostOf.keys()].map((id) => this.stop(id)));
  }

  /** Of all of them together. */
  async statistics(): Promise<Statistics> {
    const answers = await Promise.all(this.#hosts.map((host) => this.#send(host, { kind: 'statistics' })));
    const each = answers.flatMap((answer) => (answer.ok && answer.statistics ? [answer.statistics] : []));
    const sum = (of: (one: Statistics) => number): number => each.reduce((total, one) => total + of(one), 0);
    return {
      reconnectMs: each.flatMap((one) => one.reconnectMs),
      connections: sum((one) => one.connections),
      moves: sum((one) => one.moves),
      failedCalls: sum((one) => one.failedCalls),
      failuresByCode: together(each.map((one) => one.failuresByCode)),
      running: sum((one) => one.running),
      ready: sum((one) => one.ready),
      residentBytes: sum((one) => one.residentBytes),
      connectedTo: together(each.map((one) => one.connectedTo)),
    };
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#hosts.map(async (host) => {
        if (host.exitCode !== null || host.signalCode !== null) return;
        const ended = once(host, 'exit');
        host.disconnect();
        await ended;
      }),
    );
  }

  #send(host: ChildProcess, order: Unnumbered<Order>): Promise<Answer> {
    this.#orders += 1;
    const number = this.#orders;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, (answer) => {
        if (answer.ok) resolve(answer);
        else reject(new Error(answer.error));
      });
      host.send({ ...order, order: number }, (error) => error && reject(error));
    });
  }

  #fail(error: string): void {
    for (const [order, answer] of this.#waiting) answer({ order, ok: false, error });
    this.#waiting.clear();
  }
}

function together(counts: Record<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const count of counts) for (const [name, value] of Object.entries(count)) all[name] = (all[name] ?? 0) + value;
  return all;
}
