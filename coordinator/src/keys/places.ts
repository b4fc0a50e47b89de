import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { spkiSha256 } from '@evercert/shared/x509';
import { type MoveOutcome, moveKey } from './move.ts';
import { type HolderDependencies, KeyHolders, type KeyLocation, kekFileOf, openKeks } from './open.ts';
import { readKek } from './store/kek.ts';
import { rotateKek } from './store/rotate.ts';
import { type KeyHolder, type KeyProviderKind, keyProviderKinds } from './types.ts';

export interface ListedKey {
  id: string;
  provider: KeyProviderKind;
  algorithm: string;
  /** SHA-256 of the public key. */
  publicKey: string;
}

export interface MoveRequest {
  /** Default: all keys. */
  id?: string | undefined;
  /** Default: wherever they are. */
  from?: KeyProviderKind | undefined;
  to: KeyProviderKind;
}

/** Every place of keys that a configuration tells of, for the commands that look at them and move keys between them. */
export class KeyPlaces {
  readonly #config: KeyLocation;
  readonly #dependencies: HolderDependencies;
  readonly #holders: KeyHolders;

  constructor(config: KeyLocation, dependencies: HolderDependencies) {
    this.#config = config;
    this.#dependencies = dependencies;
    this.#holders = new KeyHolders(config, { ...dependencies, beside: true });
  }

  async close(): Promise<void> {
    await this.#holders.close();
  }

  /** Opens each key: what is told can be used. */
  async list(): Promise<ListedKey[]> {
    const listed: ListedKey[] = [];
    for (const place of await this.#all()) {
      for (const id of await place.list()) {
        const { keyAlgorithm, publicKey } = await place.signer(id);
        listed.push({ id, provider: place.kind, algorithm: keyAlgorithm, publicKey: spkiSha256(publicKey) });
      }
    }
    return listed.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  }

  /**
   * Moves one key, or all. Without `from`, from wherever they are. Tells each key's outcome as it happens; a failure ends it, and the same call goes on from there.
   * NotFound: no such key. Otherwise as moveKey.
   */
  async move({ id, from, to }: MoveRequest, told: (id: string, outcome: MoveOutcome) => void): Promise<void> {
    if (from === to) throw new EvercertError('InvalidArgument', `--from and --to are both ${to}: there is nothing to move`);
    const target = await this.#holders.open(to);
    const places = from === undefined ? await this.#all() : [await this.#holders.open(from)];
    let found = false;
    for (const source of places.filter((place) => place !== target)) {
      for (const each of id === undefined ? await source.list() : [id]) {
        if (!(await source.has(each))) continue;
        found = true;
        told(each, await moveKey(each, { from: source, to: target }));
      }
    }
    if (found || id === undefined) return;
    if (await target.has(id)) told(id, 'there already');
    else throw new EvercertError('NotFound', `there is no key ${id} in ${from ?? 'any place that the configuration names'}`);
  }

  /**
   * Puts the keys in the store under the key-encryption key in a file. FailedPrecondition: the configuration does not name it, so that coordinators could open nothing any more.
   * Otherwise as rotateKek.
   */
  async rotateKek(file: string): Promise<{ rewrapped: number; total: number }> {
    const { caKeys } = this.#config;
    const { store, env } = this.#dependencies;
    const keks = await openKeks(caKeys, env);
    const to = await readKek(file, env['CREDENTIALS_DIRECTORY']);
    if (keks.has(to.id)) return rotateKek(await store(), keks, to);
    throw new EvercertError(
      'FailedPrecondition',
      `the configuration does not name the key-encryption key in ${file}: coordinators could open nothing that is put under it; name it in caKeys.store.otherKekFiles of every coordinator, and restart them first`,
    );
  }

  async #all(): Promise<KeyHolder[]> {
    const places: KeyHolder[] = [];
    for (const kind of keyProviderKinds) if (this.#isNamed(kind)) places.push(await this.#holders.open(kind));
    return places;
  }

  #isNamed(kind: KeyProviderKind): boolean {
    const { caKeys, dataDir } = this.#config;
    if (caKeys.provider === kind || caKeys.also.includes(kind)) return true;
    if (kind === 'file') return existsSync(join(dataDir, 'keys'));
    return kind === 'pkcs11' ? caKeys.pkcs11 !== undefined : kekFileOf(caKeys, this.#dependencies.env) !== undefined;
  }
}
