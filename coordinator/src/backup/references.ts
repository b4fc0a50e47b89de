import { layout } from '../state/layout.ts';
import { type AuthorityRecord, decodeRecord, type KeyPairRecord } from '../state/records.ts';

/** Ids of the private keys that a store's records name, and of those that are in it. */
export class KeyReferences {
  readonly #named = new Set<string>();
  readonly #here = new Set<string>();

  note(key: string, value: Uint8Array): void {
    if (key.startsWith(layout.sealedKeys)) this.#here.add(key.slice(layout.sealedKeys.length));
    if (key.startsWith(layout.keyPairs)) this.#named.add(decodeRecord<KeyPairRecord>(key, value).keyId);
    if (key !== layout.controlCa && !key.startsWith(layout.authorities)) return;
    const { keyId, next, earlier = [] } = decodeRecord<AuthorityRecord>(key, value);
    for (const generation of [{ keyId }, ...(next ? [next] : []), ...earlier.filter((each) => each.keyDestroyedAtMs === undefined)])
      if (generation.keyId !== '') this.#named.add(generation.keyId);
  }

  /** Named, and neither in the store nor among these. */
  elsewhere(files: readonly { id: string }[]): string[] {
    const there = new Set([...this.#here, ...files.map(({ id }) => id)]);
    return [...this.#named].filter((id) => !there.has(id)).sort();
  }
}
