import { RangeRequest } from '@evercert/proto/etcd';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { repeat } from '../loop.ts';
import { RotatingChannel } from './channel.ts';
import type { ClientFiles } from './credentials.ts';

export interface WriterMember {
  name: string;
  /** `HOST:PORT`. */
  target: string;
  files: ClientFiles;
}

export interface WriterOptions {
  members: WriterMember[];
  clock: Clock;
  onProblem: (message: string) => void;
  /** 50 by default. */
  intervalMs?: number;
  /** For each write and read; 5000 by default. */
  deadlineMs?: number;
  /** A new connection to each member so often; 3000 by default. */
  freshEveryMs?: number;
}

export interface WriterStatistics {
  /** Writes that ended, well or not. */
  writes: number;
  writesFailed: number;
  /** Values read back and compared. */
  reads: number;
  /** Reads that failed or brought another value than was written. */
  readsFailed: number;
  /** Handshakes that stood, over all members. */
  connections: number;
  /** Handshakes that did not, and were tried again. */
  connectionAttemptsFailed: number;
  slowestWriteMs: number;
  lastError: string | undefined;
}

/** Keys are used in turn, so that a value still stands when it is read back, and the store stays small. */
const keyCount = 1000;
const readEvery = 20;
const lookEveryMs = 250;

/**
 * Writes through every member in turn, at a steady pace, and counts honestly: one attempt for each write, no retry, a deadline. Now and then the value just written is
 * read back through the next member (a linearizable read) and compared.
 */
export class EtcdWriter {
  readonly #options: Required<WriterOptions>;
  readonly #channels: RotatingChannel[];
  readonly #abort = new AbortController();
  readonly #pending = new Set<Promise<void>>();
  readonly #loops: Promise<void>[] = [];
  readonly #counts = { writes: 0, writesFailed: 0, reads: 0, readsFailed: 0, slowestWriteMs: 0 };
  #lastError: string | undefined;
  #sequence = 0;

  constructor(options: WriterOptions) {
    this.#options = { intervalMs: 50, deadlineMs: 5000, freshEveryMs: 3000, ...options };
    const { clock, freshEveryMs, onProblem } = this.#options;
    this.#channels = options.members.map(({ target, files }) => new RotatingChannel({ target, files, freshEveryMs, clock, onProblem }));
  }

  /** Opens a connection to every member, then writes in the background until `stop`. Unavailable when a member cannot be reached. */
  async start(): Promise<void> {
    const { clock } = this.#options;
    await Promise.all(this.#channels.map((channel) => channel.refresh()));
    const missing = this.#channels.filter((channel) => !channel.connected).map((channel) => channel.target);
    if (missing.length > 0) {
      for (const channel of this.#channels) channel.close();
      throw new EvercertError('Unavailable', `cannot connect to etcd at ${missing.join(', ')}`);
    }
    for (const channel of this.#channels) this.#loops.push(repeat(clock, lookEveryMs, this.#abort.signal, () => channel.refresh()));
    this.#schedule(clock.monotonicMs());
  }

  /** Begins no more writes, lets those under way end (they count), and closes the connections. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all([...this.#loops, ...this.#pending]);
    for (const channel of this.#channels) channel.close();
  }

  statistics(): WriterStatistics {
    return {
      ...this.#counts,
      connections: this.#channels.reduce((sum, channel) => sum + channel.opened, 0),
      connectionAttemptsFailed: this.#channels.reduce((sum, channel) => sum + channel.failedAttempts, 0),
      lastError: this.#lastError,
    };
  }

  /** Keeps the pace without drifting; ticks that were missed while this process was busy are left out, not made up in a burst. */
  #schedule(dueMs: number): void {
    const { clock, intervalMs } = this.#options;
    clock.after(Math.max(0, dueMs - clock.monotonicMs()), () => {
      if (this.#abort.signal.aborted) return;
      this.#begin();
      this.#schedule(Math.max(dueMs + intervalMs, clock.monotonicMs()));
    });
  }

  #begin(): void {
    const write = this.#write(this.#sequence++).finally(() => this.#pending.delete(write));
    this.#pending.add(write);
  }

  async #write(sequence: number): Promise<void> {
    const { clock, deadlineMs } = this.#options;
    const key = Buffer.from(`evercert/writer/${sequence % keyCount}`);
    const value = Buffer.from(String(sequence));
    const begun = clock.monotonicMs();
    try {
      await this.#channel(sequence).use((kv) => unary(kv.put.bind(kv), { key, value, lease: '0' }, { deadlineMs }));
    } catch (error) {
      this.#counts.writesFailed += 1;
      this.#problem(`write ${sequence} through ${this.#channel(sequence).target} failed`, error);
      return;
    } finally {
      this.#counts.writes += 1;
      this.#counts.slowestWriteMs = Math.max(this.#counts.slowestWriteMs, Math.round(clock.monotonicMs() - begun));
    }
    if (sequence % readEvery === 0) await this.#readBack(sequence, key, value);
  }

  async #readBack(sequence: number, key: Buffer, expected: Buffer): Promise<void> {
    const { deadlineMs } = this.#options;
    const request = RangeRequest.create({ key, limit: 1 });
    this.#counts.reads += 1;
    try {
      const { kvs } = await this.#channel(sequence + 1).use((kv) => unary(kv.range.bind(kv), request, { deadlineMs }));
      const found = kvs[0]?.value;
      if (!found?.equals(expected)) throw new EvercertError('DataLoss', `expected ${expected}, found ${found ?? 'nothing'}`);
    } catch (error) {
      this.#counts.readsFailed += 1;
      this.#problem(`reading back write ${sequence} through ${this.#channel(sequence + 1).target} failed`, error);
    }
  }

  #channel(sequence: number): RotatingChannel {
    const channel = this.#channels[sequence % this.#channels.length];
    if (!channel) throw new EvercertError('InvalidArgument', 'the writer needs at least one member');
    return channel;
  }

  #problem(what: string, error: unknown): void {
    const { code, message } = toEvercertError(error);
    this.#lastError = `${what}: ${code}: ${message}`;
    this.#options.onProblem(this.#lastError);
  }
}
