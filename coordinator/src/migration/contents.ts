import { DigestCounter } from '@evercert/shared/backup';
import { layout, partsAfter } from '../state/layout.ts';
import type { KeyValue, Store } from '../store/index.ts';

/** What a store holds, so that two can be compared. */
export interface Contents {
  /** By what the keys begin with: `nodes`, `certificates`, … */
  prefixes: Map<string, { entries: number; bytes: number; digest: string }>;
  entries: number;
  bytes: number;
  /** SHA-256 over everything, hexadecimal. */
  digest: string;
  /** Keys on leases, which are not counted: they are of processes that run, and are made anew. */
  leased: string[];
}

/** What tells of the store itself, not of what is in it. */
const ofTheStore: ReadonlySet<string> = new Set([layout.storeMark, layout.auditStore, layout.auditRelink]);
/** What tells of processes that run: on leases, but where a coordinator has its store for itself. */
const ofProcesses = [layout.leader, layout.coordinators, layout.sessions];

/** True: it belongs to what is moved. */
export function isContent({ key, lease }: Pick<KeyValue, 'key' | 'lease'>): boolean {
  return lease === undefined && !ofTheStore.has(key) && !ofProcesses.some((prefix) => key.startsWith(prefix));
}

export class ContentsCounter {
  readonly #counter = new DigestCounter();
  readonly #leased: string[] = [];

  /** Entries come in the order of their keys. */
  add(entry: KeyValue): void {
    if (entry.lease !== undefined) this.#leased.push(entry.key);
    if (isContent(entry)) this.#counter.add(partsAfter(layout.root, entry.key)[0] ?? '', entry.key, entry.value);
  }

  finish(): Contents {
    const { parts: prefixes, ...rest } = this.#counter.finish();
    return { prefixes, ...rest, leased: this.#leased };
  }
}

/** Reads everything of Evercert's once, as it is at one revision. */
export async function readContents(store: Pick<Store, 'snapshot'>, signal: AbortSignal): Promise<Contents> {
  const counter = new ContentsCounter();
  for await (const page of store.snapshot({ prefix: layout.root, signal })) for (const entry of page.entries) counter.add(entry);
  return counter.finish();
}

/** The first differences, one in a line; empty: there are none. */
export function differences(expected: Contents, found: Contents): string[] {
  const names = new Set([...expected.prefixes.keys(), ...found.prefixes.keys()]);
  return [...names].flatMap((name) => {
    const [a, b] = [expected.prefixes.get(name), found.prefixes.get(name)];
    if (a?.entries !== b?.entries) return [`${name}: ${a?.entries ?? 0} entries expected, ${b?.entries ?? 0} found`];
    return a?.digest === b?.digest ? [] : [`${name}: the digests of its ${a?.entries} entries differ`];
  });
}
