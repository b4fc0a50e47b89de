import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EventRecorder, layout } from '@evercert/coordinator';
import { AuditReader, Sealer, type SealerOptions } from '@evercert/coordinator/audit';
import type { Store } from '@evercert/coordinator/store';
import {
  type AuditCheckpoint,
  type AuditEntryLine,
  type AuditReport,
  checkpointBytes,
  encodeSignature,
  parseLine,
} from '@evercert/shared/audit';
import type { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { type AuditKey, verifyTexts } from './audit-log.ts';

/** A store with events, and sealers over it as leaders run them. */
export class Sealing {
  readonly store: Store;
  readonly reader: AuditReader;
  readonly events: EventRecorder;
  readonly #clock: FakeClock;
  readonly #key: AuditKey;

  constructor(store: Store, clock: FakeClock, key: AuditKey) {
    this.store = store;
    this.#clock = clock;
    this.#key = key;
    this.reader = new AuditReader(store);
    this.events = new EventRecorder(store, clock, silentLogger);
  }

  sealer(options: Partial<SealerOptions> = {}): Sealer {
    return new Sealer({
      store: this.store,
      clock: this.#clock,
      logger: silentLogger,
      signer: { sign: (state) => this.sign(state) },
      checkpoint: { everyMs: 60_000, entries: 1000 },
      keep: { ageMs: 365 * 86_400_000, bytes: 1e9 },
      fault: () => {},
      ...options,
    });
  }

  async sign(state: { log: string; sequence: number; hash: string }): Promise<AuditCheckpoint> {
    const time = new Date(this.#clock.nowMs()).toISOString();
    const body = { type: 'checkpoint' as const, ...state, time, certificate: this.#key.certificate.toString('base64') };
    return { ...body, signature: encodeSignature(await this.#key.sign(checkpointBytes(body))) };
  }

  /** Writes events, each in a transaction of its own. */
  async tell(...reasons: string[]): Promise<number> {
    let revision = 0;
    for (const reason of reasons) {
      ({ revision } = await this.store.transact(
        [],
        [this.events.operation({ cluster: 'demo', actor: 'coordinator', reason, message: reason })],
      ));
    }
    return revision;
  }

  /** Lets time pass until a condition holds. */
  async until(condition: () => Promise<boolean> | boolean, stepMs = 250): Promise<void> {
    const patienceMs = performance.now() + 20_000;
    while (performance.now() < patienceMs) {
      if (await condition()) return;
      await new Promise((resolve) => setImmediate(resolve));
      await this.#clock.advance(stepMs);
    }
    throw new Error('it did not come about');
  }

  async sealedTo(sequence: number): Promise<void> {
    await this.until(async () => ((await this.reader.head())?.sequence ?? 0) >= sequence);
  }

  async text(): Promise<string> {
    let text = '';
    for await (const piece of this.reader.export({ from: 0, follow: false, signal: new AbortController().signal })) text += piece;
    return text;
  }

  async reasons(): Promise<string[]> {
    return entriesIn(await this.text()).map(({ event }) => event.reason);
  }

  async verify(partial = false): Promise<AuditReport> {
    return verifyTexts([await this.text()], [this.#key], partial);
  }

  async eventKeys(): Promise<string[]> {
    return (await this.store.range({ prefix: layout.events })).entries.map(({ key }) => key);
  }
}

export function entriesIn(text: string): AuditEntryLine[] {
  return text.split('\n').flatMap((line) => {
    const parsed = line === '' ? '' : parseLine(line);
    return typeof parsed === 'string' || parsed.type !== 'entry' ? [] : [parsed];
  });
}

/** What the files of a folder hold, in the order of their names. */
export async function auditFiles(directory: string): Promise<{ name: string; text: string }[]> {
  const names = (await readdir(directory)).sort();
  return Promise.all(names.map(async (name) => ({ name, text: await readFile(join(directory, name), 'utf8') })));
}
