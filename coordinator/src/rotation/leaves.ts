import type { Clock } from '@evercert/shared/clock';
import { firstGeneration } from '../ca/generations.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { type AuthorityRecord, type CertificateRecord, decodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { RotationNodeFacts } from './types.ts';

/** Records read at once: others get their turn between. */
const pageSize = 500;
const pauseMs = 1;

/** What the store says of the leaves of one generation, whatever is in memory. */
export interface LeavesOfGeneration {
  /** When the last of them ends; 0: there is none. */
  lastEndMs: number;
  /** The newest of their name on a node, and not ended. */
  inUse: { cluster: string; node: string; name: string; notAfterMs: number }[];
}

/** Reads every certificate of the CA once. Nothing is added to a generation that does not sign any more, so that what is found stays true. */
export async function leavesOf(
  { store, model, clock }: { store: Store; model: Model; clock: Clock },
  authority: AuthorityRecord,
  serial: string,
): Promise<LeavesOfGeneration> {
  const prefix = authority.cluster === layout.controlScope ? layout.certificates : layout.certificatesOf(authority.cluster);
  const isFirst = firstGeneration(authority).serial === serial;
  const found: LeavesOfGeneration = { lastEndMs: 0, inUse: [] };
  let after: string | undefined;
  for (;;) {
    const { entries, more } = await store.range({ prefix, limit: pageSize, ...(after !== undefined && { after }) });
    for (const { key, value } of entries) {
      const record = decodeRecord<CertificateRecord>(key, value);
      const issuedBy = record.issuerSerial ?? (isFirst ? serial : '');
      if (record.issuer === authority.name && issuedBy === serial) add(found, record, model, clock.nowMs());
    }
    after = entries.at(-1)?.key;
    if (!more || after === undefined) return found;
    await clock.sleep(pauseMs);
  }
}

function add(found: LeavesOfGeneration, record: CertificateRecord, model: Model, nowMs: number): void {
  const { cluster, node, name, notAfterMs, serial, issuedAtMs } = record;
  found.lastEndMs = Math.max(found.lastEndMs, notAfterMs);
  if (notAfterMs <= nowMs) return;
  const current = model.currents.get(layout.current(cluster, node, name))?.record;
  // What is in memory may be a moment behind: only what is newer for certain succeeds it.
  const succeeded = current !== undefined && current.serial !== serial && current.issuedAtMs >= issuedAtMs;
  if (!succeeded) found.inUse.push({ cluster, node, name, notAfterMs });
}

/** Those that a decision from memory has not seen: of nodes that are there. */
export function unseen({ inUse }: LeavesOfGeneration, nodes: readonly RotationNodeFacts[], target: string): string[] {
  const known = new Map(nodes.map((node) => [`${node.cluster}/${node.name}`, node]));
  return inUse.flatMap(({ cluster, node, name }) => {
    const facts = known.get(`${cluster}/${node}`);
    if (!facts || facts.away !== undefined) return [];
    const leaf = facts.leaves.find((one) => one.name === name);
    return leaf && (leaf.issuerSerial === target || leaf.revoked) ? [] : [`${name} of ${node}`];
  });
}
