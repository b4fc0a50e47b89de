import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { type AuditEntryLine, type AuditEvent, maxLineLength, parseLine, verifyAuditLog } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import { toFileError } from '@evercert/shared/files';
import { generationsOf } from '../ca/generations.ts';
import { revocationOfDetails } from '../events/details.ts';
import type { RemovedNodeRecord } from '../replacement/types.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord, type NodeRecord } from '../state/records.ts';
import type { RestorePlan } from './plan.ts';

/** What the audit log brought back. */
export interface Replayed {
  revocations: number;
  deletedRevocations: number;
  nodes: number;
  identities: number;
  tokens: number;
  /** The last entry's time. */
  untilMs: number;
  /** Last entry, and the last one that a signature covers. */
  last: number;
  signed: number;
  /** Nodes that joined after the backup, `CLUSTER/NAME`: they have to join again. */
  joined: string[];
}

/**
 * Puts what an exported audit log tells of the time since the backup into a restore's plan: revocations, nodes that were removed, tokens that were deleted, identities that were renewed. What
 * loosens (a revocation that was deleted) is believed only where a signature covers it.
 *
 * @param keys of all entries of the backup.
 * FailedPrecondition: the log does not fit the backup, or leaves a gap. DataLoss: it is not as it was written.
 */
export async function replayAuditLog(files: readonly string[], plan: RestorePlan, keys: ReadonlySet<string>): Promise<Replayed> {
  const { controlCa, auditHead } = plan;
  if (!controlCa) throw unfit('the backup has no control CA, by which its signatures could be checked');
  const sources = files.map((file) => ({ name: basename(file), bytes: bytesOf(file) }));
  const anchors = generationsOf(controlCa).flatMap(({ generation: { certificate, root } }) =>
    [certificate, ...(root === undefined ? [] : [root])].map((each) => Buffer.from(each, 'base64')),
  );
  const report = await verifyAuditLog(sources, { anchors, partial: true });
  const [fault] = report.faults;
  if (fault) throw new EvercertError('DataLoss', `the audit log is refused: ${fault.source}, entry ${fault.sequence}: ${fault.message}`);
  // Of a backup from before the first entry, all that ties the log to it is the control CA's signature.
  const sequence = auditHead?.sequence ?? 0;
  if (!auditHead && report.signed === 0) throw unfit('the backup was made before the log began, and no signature shows that it is its own');
  if (auditHead && report.log !== auditHead.log)
    throw unfit(`it is the log ${report.log ?? 'of no id'}, and the backup's is ${auditHead.log}`);
  if (report.first > sequence + 1)
    throw unfit(`it begins with entry ${report.first}, and the backup's ends with ${sequence}: export it with --from ${sequence + 1}`);
  const entries = await entriesAfter(files, sequence);
  const replay = new Replay(plan, keys, report.signed);
  for (const entry of entries) replay.take(entry);
  return replay.finish({ last: report.last, signed: report.signed });
}

class Replay {
  readonly #plan: RestorePlan;
  readonly #keys: ReadonlySet<string>;
  readonly #signed: number;
  readonly #joined = new Set<string>();
  readonly #revoked = new Set<string>();
  readonly #identities = new Map<string, string[]>();
  #counts = { deletedRevocations: 0, nodes: 0, identities: 0, tokens: 0 };
  #untilMs = 0;

  constructor(plan: RestorePlan, keys: ReadonlySet<string>, signed: number) {
    this.#plan = plan;
    this.#keys = keys;
    this.#signed = signed;
  }

  take({ sequence, event }: AuditEntryLine): void {
    this.#untilMs = Math.max(this.#untilMs, Date.parse(event.time));
    // What the backup itself tells has had its effect in it.
    if (this.#keys.has(layout.event(event.cluster || layout.controlScope, event.id))) return;
    const { reason, details = {} } = event;
    if (reason === 'RenewRevocationDeleted') this.#released(event, sequence <= this.#signed);
    else this.#revoke(event);
    if (reason === 'NodeDeleted' || reason === 'NodeRemoved') this.#removed(event);
    if (reason === 'TokenDeleted' && details['tokenId'] !== undefined) this.#tokenDeleted(details['tokenId']);
    if (reason === 'CertificateIssued' && event.certificate === 'identity' && details['issuer'] === 'control-ca') this.#issued(event);
  }

  finish(read: { last: number; signed: number }): Replayed {
    return { ...this.#counts, ...read, revocations: this.#revoked.size, untilMs: this.#untilMs, joined: [...this.#joined].sort() };
  }

  #revoke({ details = {} }: AuditEvent): void {
    const record = revocationOfDetails(details);
    if (!record) return;
    const key = layout.revocation(record.cluster, record.name);
    this.#plan.changes.set(key, encodeRecord(record));
    this.#revoked.add(key);
  }

  #released({ cluster = '', details = {} }: AuditEvent, isSigned: boolean): void {
    const name = details['name'];
    if (name === undefined || !isSigned) return;
    const key = layout.revocation(cluster, name);
    this.#plan.changes.set(key, undefined);
    this.#revoked.delete(key);
    this.#counts.deletedRevocations += 1;
  }

  #tokenDeleted(id: string): void {
    this.#plan.changes.set(layout.token(id), undefined);
    this.#counts.tokens += 1;
  }

  /** Its identity is worth nothing any more, whatever the backup says; that it comes back is told. */
  #removed({ cluster = '', node = '', time, actor, reason, details = {} }: AuditEvent): void {
    const { changes, nodes } = this.#plan;
    const key = layout.node(cluster, node);
    const record = nodes.get(key);
    const serials = [...(this.#identities.get(key) ?? []), ...(record?.identitySerials ?? [])];
    this.#identities.delete(key);
    this.#joined.delete(`${cluster}/${node}`);
    this.#counts.nodes += 1;
    const removed: Omit<RemovedNodeRecord, 'role'> = {
      cluster,
      name: node,
      removedAtMs: Date.parse(time),
      by: details['by'] ?? actor,
      identitySerials: serials,
      returned: 0,
    };
    const role = record?.role ?? 'worker';
    for (const serial of serials) changes.set(layout.removedNode(cluster, serial), encodeRecord<RemovedNodeRecord>({ ...removed, role }));
    if (!record) return;
    // Of a replaced node the name stays, for the machine that came in its place.
    const after: NodeRecord | undefined = reason === 'NodeRemoved' ? withoutIdentity(record) : undefined;
    changes.set(key, after && encodeRecord(after));
    if (after) nodes.set(key, after);
    else nodes.delete(key);
    changes.set(layout.nodeStatus(cluster, node), undefined);
    changes.set(layout.nodeHealth(cluster, node), undefined);
    const currents = layout.currents(cluster, node);
    for (const each of this.#keys) if (each.startsWith(currents)) changes.set(each, undefined);
    if (!after) for (const address of addressesOf(record)) changes.set(layout.address(cluster, address), undefined);
  }

  #issued({ cluster = '', node = '', serial = '', details = {} }: AuditEvent): void {
    const { changes, nodes } = this.#plan;
    const key = layout.node(cluster, node);
    const record = nodes.get(key);
    this.#identities.set(key, [...(this.#identities.get(key) ?? []), serial]);
    if (!record) {
      this.#joined.add(`${cluster}/${node}`);
      return;
    }
    // Renewals overlap; whoever joined anew, or was recovered, has one identity.
    const earlier = details['issueReason'] === 'Scheduled' ? record.identitySerials.filter((each) => each !== serial) : [];
    const identitySerials = [serial, ...earlier].slice(0, acceptedIdentities);
    const fingerprints = Object.entries(record.identityFingerprints ?? {}).filter(([each]) => identitySerials.includes(each));
    const after: NodeRecord = {
      ...record,
      identitySerials,
      identityFingerprints: Object.fromEntries(fingerprints),
      identityNotAfterMs: Date.parse(details['notAfter'] ?? '') || record.identityNotAfterMs,
    };
    nodes.set(key, after);
    changes.set(key, encodeRecord(after));
    this.#counts.identities += 1;
  }
}

const acceptedIdentities = 4;

function withoutIdentity({ identityFingerprints: _gone, ...record }: NodeRecord): NodeRecord {
  return { ...record, identitySerials: [], identityNotAfterMs: 0 };
}

function addressesOf(node: NodeRecord): string[] {
  return [...new Set([...node.registeredAddresses, ...node.claimedAddresses])];
}

/** Of files that were verified, in their order, each once. */
async function entriesAfter(files: readonly string[], sequence: number): Promise<AuditEntryLine[]> {
  const found = new Map<number, AuditEntryLine>();
  for (const file of files) {
    for await (const text of linesOf(file)) {
      const line = parseLine(text);
      if (typeof line !== 'string' && line.type === 'entry' && line.sequence > sequence && relevant(line.event))
        found.set(line.sequence, line);
    }
  }
  return [...found.values()].sort((a, b) => a.sequence - b.sequence);
}

/** The rest is not kept in memory. */
function relevant({ reason, certificate }: AuditEvent): boolean {
  return certificate === 'identity' || /^(?:RenewRevocation|Node(?:Deleted|Removed)|TokenDeleted|Audit|Coordinator)/.test(reason);
}

async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  const decoder = new TextDecoder();
  for await (const chunk of bytesOf(file)) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxLineLength) throw new EvercertError('DataLoss', `${file} has a line without an end`);
    yield* lines;
  }
}

async function* bytesOf(file: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(file)) yield chunk as Buffer;
  } catch (error) {
    throw toFileError(error, 'read', file);
  }
}

function unfit(why: string): EvercertError {
  return new EvercertError('FailedPrecondition', `the audit log does not continue that of the backup: ${why}`);
}
