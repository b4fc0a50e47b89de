import { damaged } from './damage.ts';
import { DigestCounter } from './digests.ts';
import { type BackupCount, type BackupItem, type BackupManifest, keyFilesPart } from './types.ts';

/** Makes the manifest of what is put in, and holds the manifest of what is read against it. */
export class BackupContents {
  readonly #counter = new DigestCounter();
  readonly #root: string;
  #state: 'new' | 'entries' | 'keys' | 'over' = 'new';
  #last = Buffer.alloc(0);

  /** @param root what the keys of all entries begin with. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Whether the manifest has come, and everything with it. */
  get isComplete(): boolean {
    return this.#state === 'over';
  }

  /** DataLoss: the item is out of its order, or the manifest is not that of what came before it. */
  add(item: BackupItem): void {
    if (this.#state === 'over') throw damaged('it goes on behind its manifest');
    if ((this.#state === 'new') !== (item.type === 'about')) throw damaged('its items are not in their order');
    switch (item.type) {
      case 'about':
        this.#state = 'entries';
        return;
      case 'entry':
        if (this.#state !== 'entries') throw damaged('its items are not in their order');
        this.#follow(item.entry.key);
        if (!item.entry.key.startsWith(this.#root)) throw damaged('it holds entries that are not of Evercert');
        this.#counter.add(item.entry.key.slice(this.#root.length).split('/')[0] ?? '', item.entry.key, item.entry.value);
        return;
      case 'key':
        if (this.#state !== 'keys') this.#last = Buffer.alloc(0);
        this.#state = 'keys';
        this.#follow(item.key.id);
        this.#counter.add(keyFilesPart, item.key.id, Buffer.from(item.key.pem));
        return;
      case 'manifest':
        this.#compare(item.manifest);
        this.#state = 'over';
    }
  }

  /** Of all that was added. */
  manifest(keysElsewhere: string[]): BackupManifest {
    const { parts, entries, bytes, digest } = this.#counter.finish();
    const counts = [...parts].map(([name, { digest: sha256, ...each }]): [string, BackupCount] => [name, { ...each, sha256 }]);
    return { parts: Object.fromEntries(counts), whole: { entries, bytes, sha256: digest }, keysElsewhere };
  }

  #follow(name: string): void {
    const bytes = Buffer.from(name);
    if (Buffer.compare(this.#last, bytes) >= 0) throw damaged('its items are not in their order');
    this.#last = bytes;
  }

  #compare(manifest: BackupManifest): void {
    const found = this.manifest(manifest.keysElsewhere);
    const names = new Set([...Object.keys(found.parts), ...Object.keys(manifest.parts)]);
    const wrong = [...names].filter((name) => !same(found.parts[name], manifest.parts[name]));
    if (wrong.length > 0 || !same(found.whole, manifest.whole))
      throw damaged(`its content is not that of its manifest (${wrong.join(', ') || 'the whole'})`);
  }
}

function same(a: BackupCount | undefined, b: BackupCount | undefined): boolean {
  return a?.entries === b?.entries && a?.bytes === b?.bytes && a?.sha256 === b?.sha256;
}
