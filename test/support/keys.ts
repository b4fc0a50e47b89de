/** Places of keys in temporary folders, for tests of the key providers. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CoordinatorConfig, configSchema } from '@evercert/coordinator';
import { KeyPlaces, type KeyProvider, openKeyProvider } from '@evercert/coordinator/keys';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { type Logger, silentLogger } from '@evercert/shared/logging';

/** A store in memory, key-encryption keys and a data folder: what a coordinator's keys need. */
export class KeyBench {
  readonly folder = mkdtempSync(join(tmpdir(), 'evercert-keys-'));
  readonly kekFile = this.writeKek('kek');
  readonly #opened: (KeyProvider | KeyPlaces)[] = [];
  readonly store: Store;

  static async open(): Promise<KeyBench> {
    return new KeyBench(await openSqliteStore({ file: ':memory:', clock: systemClock, logger: silentLogger }));
  }

  private constructor(store: Store) {
    this.store = store;
  }

  writeKek(name: string, text = randomBytes(32).toString('base64')): string {
    const file = join(this.folder, name);
    writeFileSync(file, `${text}\n`, { mode: 0o600 });
    return file;
  }

  config(caKeys: Record<string, unknown>): CoordinatorConfig {
    return configSchema.parse({ dataDir: this.folder, caKeys: { store: { kekFile: this.kekFile }, ...caKeys } });
  }

  /** Closed with the bench. */
  async provider(
    caKeys: Record<string, unknown>,
    options: { store?: Store; logger?: Logger; env?: NodeJS.ProcessEnv } = {},
  ): Promise<KeyProvider> {
    const { store = this.store, logger = silentLogger, env = {} } = options;
    const provider = await openKeyProvider(this.config(caKeys), { store, clock: systemClock, logger, env });
    this.#opened.push(provider);
    return provider;
  }

  places(caKeys: Record<string, unknown>): KeyPlaces {
    const store = async (): Promise<Store> => this.store;
    const places = new KeyPlaces(this.config(caKeys), { store, clock: systemClock, logger: silentLogger, env: {} });
    this.#opened.push(places);
    return places;
  }

  /** Closes what was opened here, but for one. */
  async closeAll(but?: KeyProvider): Promise<void> {
    for (const each of this.#opened.splice(0)) {
      if (each === but) this.#opened.push(each);
      else await each.close();
    }
  }

  async dispose(): Promise<void> {
    await this.closeAll();
    await this.store.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const sealedKeys = '/evercert/v1/keys/';

/** How a private number could stand somewhere, for looking where it must not be: a PEM, a JWK or a hex string of the key has one of these in it. */
export function formsOf(number: Buffer): { name: string; bytes: Buffer }[] {
  const forms = [
    { name: 'raw', bytes: number },
    { name: 'hex', bytes: Buffer.from(number.toString('hex')) },
    { name: 'upper-case hex', bytes: Buffer.from(number.toString('hex').toUpperCase()) },
    { name: 'decimal', bytes: Buffer.from(BigInt(`0x${number.toString('hex')}`).toString()) },
  ];
  // At any of the three offsets at which base64 may have begun.
  for (const offset of [0, 1, 2]) {
    const text = innerBase64(number.subarray(offset));
    forms.push({ name: 'base64', bytes: Buffer.from(text) });
    forms.push({ name: 'base64url', bytes: Buffer.from(text.replaceAll('+', '-').replaceAll('/', '_')) });
  }
  return forms;
}

/** Without the end that depends on what follows; short enough to stand on one line of a PEM. */
function innerBase64(bytes: Buffer): string {
  return bytes.subarray(0, Math.floor(Math.min(bytes.length, 30) / 3) * 3).toString('base64');
}
