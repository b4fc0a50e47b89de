import type { KeyObject } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import type { KeyAlgorithm } from '@evercert/shared/x509';
import { checkKeyId, checkSharedKeyId, missingKey, sharedPrefix, takenId } from './ids.ts';
import type { KeyHolder, KeyProvider, KeyProviderKind, Signer } from './types.ts';

export interface Places {
  /** New keys are made here. */
  main: KeyHolder;
  /** But those that are to be handed out, here. */
  shared: KeyHolder;
  /** Keys are found here as well, while they move. */
  also: readonly KeyHolder[];
}

/** Several places as one provider. A key that is in two of them, because a move was interrupted, is the same key. */
export class SeveralKeyProviders implements KeyProvider {
  readonly #places: Places;
  readonly #all: readonly KeyHolder[];

  constructor(places: Places) {
    this.#places = places;
    this.#all = [...new Set([places.main, places.shared, ...places.also])];
  }

  async generate(id: string, algorithm: KeyAlgorithm): Promise<Signer> {
    await this.#refuseTaken(id);
    return this.#follow(id, await this.#home(id).generate(id, algorithm));
  }

  async import(id: string, privateKey: KeyObject): Promise<Signer> {
    await this.#refuseTaken(id);
    return this.#follow(id, await this.#home(id).import(id, privateKey));
  }

  async signer(id: string): Promise<Signer> {
    return this.#follow(id, await this.#find(id));
  }

  async exportShared(id: string): Promise<string> {
    checkSharedKeyId(id);
    return this.#first(id, (place) => place.exportShared(id));
  }

  async delete(id: string): Promise<void> {
    checkKeyId(id);
    for (const place of this.#all) await place.delete(id);
  }

  async list(): Promise<string[]> {
    const lists = await Promise.all(this.#all.map((place) => place.list()));
    return [...new Set(lists.flat())].sort();
  }

  async kindOf(id: string): Promise<KeyProviderKind> {
    return this.#first(id, (place) => place.kindOf(id));
  }

  async close(): Promise<void> {
    for (const place of this.#all) await place.close();
  }

  #home(id: string): KeyHolder {
    return id.startsWith(sharedPrefix) ? this.#places.shared : this.#places.main;
  }

  async #refuseTaken(id: string): Promise<void> {
    checkKeyId(id);
    const home = this.#home(id);
    for (const place of this.#all) if (place !== home && (await place.has(id))) throw takenId(id);
  }

  #find(id: string): Promise<Signer> {
    return this.#first(id, (place) => place.signer(id));
  }

  /** The answer of the first place that has the key. One that moves meanwhile is looked for once more. */
  async #first<T>(id: string, ask: (place: KeyHolder) => Promise<T>): Promise<T> {
    checkKeyId(id);
    const home = this.#home(id);
    const places = [home, ...this.#all.filter((other) => other !== home)];
    for (const place of [...places, ...places]) {
      try {
        return await ask(place);
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    throw missingKey(id);
  }

  /** A signer that goes along when its key moves to another place. */
  #follow(id: string, first: Signer): Signer {
    let current = first;
    const { keyAlgorithm, publicKey } = first;
    const sign = async (data: Uint8Array): Promise<Buffer> => {
      try {
        return await current.sign(data);
      } catch (error) {
        if (!isMissing(error)) throw error;
        const found = await this.#find(id);
        if (!found.publicKey.equals(publicKey)) throw missingKey(id);
        current = found;
        return current.sign(data);
      }
    };
    return { keyAlgorithm, publicKey, sign };
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof EvercertError && error.code === 'NotFound';
}
