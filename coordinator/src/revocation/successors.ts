import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { type CertificateRecord, decodeRecord, type RevocationEntryRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { Revocations } from './revocations.ts';

/** Successors kept with one entry, the newest: with lives of days there are two or three. */
const maxSuccessors = 100;

export interface SuccessorSources {
  store: Store;
  model: Model;
  revocations: Revocations;
}

interface Named {
  index: number;
  issuedAtMs: number;
}

/**
 * For each serial entry that asks for it: the serials of what was issued after the certificate that it names for the same node and name. A copy that was stolen and renewed
 * since is caught thereby. What has expired is left out, unless it is still the newest: a renewal would be asked with it.
 */
export async function findSuccessors(
  { store, model, revocations }: SuccessorSources,
  cluster: string,
  entries: readonly RevocationEntryRecord[],
): Promise<string[][]> {
  const found = entries.map((): { serial: string; issuedAtMs: number }[] => []);
  const lines = new Map<string, Named[]>();
  for (const [index, { kind, value, includeSuccessors }] of entries.entries()) {
    if (kind !== 'SerialNumber' || !includeSuccessors) continue;
    const key = layout.certificate(cluster, value);
    const entry = await store.get(key);
    if (!entry) continue;
    const { node, name, issuedAtMs } = decodeRecord<CertificateRecord>(key, entry.value);
    const line = layout.current(cluster, node, name);
    lines.set(line, [...(lines.get(line) ?? []), { index, issuedAtMs }]);
  }
  if (lines.size === 0) return found.map(() => []);
  const offer = (line: string, serial: string, issuedAtMs: number): void => {
    for (const named of lines.get(line) ?? []) if (issuedAtMs > named.issuedAtMs) found[named.index]?.push({ serial, issuedAtMs });
  };
  for (const line of lines.keys()) {
    const current = model.currents.get(line)?.record;
    if (current) offer(line, current.serial, current.issuedAtMs);
  }
  for await (const { node, name, serial, issuedAtMs } of revocations.live(cluster, { always: true })) {
    offer(layout.current(cluster, node, name), serial, issuedAtMs);
  }
  return found.map((successors) => {
    const newestFirst = successors.sort((a, b) => b.issuedAtMs - a.issuedAtMs).map(({ serial }) => serial);
    return [...new Set(newestFirst)].slice(0, maxSuccessors);
  });
}
