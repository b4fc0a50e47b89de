import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { RoleName } from '@evercert/shared/manifest';
import { type CertificateInfo, parseCertificate } from '@evercert/shared/x509';
import { adminOfIdentity, type NodeName, nodeOfIdentity } from '../identity-uris.ts';
import { notAccepted } from '../nodes/not-accepted.ts';
import type { RemovedNodes } from '../replacement/returned.ts';
import { identityRefusal } from '../revocation/refusal.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { Model } from '../state/model.ts';

export type Caller =
  | { kind: 'anonymous' }
  | { kind: 'node'; cluster: string; name: string; role: RoleName; serial: string; notAfterMs: number }
  | { kind: 'admin'; name: string; serial: string; notAfterMs: number };

/** `admin/NAME`, `node/CLUSTER/NAME` or `anonymous`, as events tell it. */
export function actorOf(caller: Caller): string {
  if (caller.kind === 'anonymous') return 'anonymous';
  return caller.kind === 'admin' ? `admin/${caller.name}` : `node/${caller.cluster}/${caller.name}`;
}

/** Parsed certificates of connected peers; a call should not parse the same certificate again. */
const maxCached = 20_000;

export interface CallersOptions {
  model: Model;
  clock: Clock;
  revocations: Revocations;
  removed: Pick<RemovedNodes, 'find' | 'cameBack'>;
  backdateMs: number;
}

/** Tells who calls from the client certificate, anew on every call: what was true when the connection opened may not be true any more (invariant 9). */
export class Callers {
  readonly #model: Model;
  readonly #clock: Clock;
  readonly #revocations: Revocations;
  readonly #backdateMs: number;
  readonly #removed: Pick<RemovedNodes, 'find' | 'cameBack'>;
  readonly #parsed = new Map<string, CertificateInfo>();

  constructor(options: CallersOptions) {
    this.#model = options.model;
    this.#clock = options.clock;
    this.#revocations = options.revocations;
    this.#backdateMs = options.backdateMs;
    this.#removed = options.removed;
  }

  /**
   * @param peer the certificate that the TLS layer verified against the control CA; undefined when there was none or it did not verify.
   * @param from `address:port` of the connection, for what is told of a removed node that comes back; undefined: the call was admitted before, and is no return.
   * Errors: IdentityExpired (it ran out while the connection was open), Unauthenticated (it is no identity of ours, or one that is not accepted any more), Revoked.
   */
  identify(peer: { raw: Buffer; fingerprint256: string } | undefined, from: string | undefined): Caller {
    if (!peer) return { kind: 'anonymous' };
    const info = this.#parse(peer);
    const notAfterMs = info.notAfter.getTime();
    if (notAfterMs <= this.#clock.nowMs()) {
      throw new EvercertError('IdentityExpired', `the client certificate ${info.serial} expired at ${info.notAfter.toISOString()}`);
    }
    const admin = adminOfIdentity(info.uris);
    if (admin !== undefined) return { kind: 'admin', name: admin, serial: info.serial, notAfterMs };
    const node = nodeOfIdentity(info.uris);
    if (node) return this.#node(node, info, from);
    throw new EvercertError('Unauthenticated', 'the client certificate is neither a node identity nor an admin identity');
  }

  #node({ cluster, name }: NodeName, { serial, notBefore, notAfter }: CertificateInfo, from: string | undefined): Caller {
    const record = this.#model.node(cluster, name);
    const place = record?.identitySerials.indexOf(serial) ?? -1;
    if (!record || place < 0) {
      if (from !== undefined) this.#removed.cameBack({ cluster, serial, peer: from });
      throw notAccepted(name, serial, this.#removed.find(cluster, serial));
    }
    // The newest first. Who revokes an identity means the node: an earlier one, that a thief may hold a copy of, is not accepted in its place.
    for (const revocable of record.identitySerials.slice(0, place + 1)) {
      const match = this.#revocations.matchSerial(cluster, revocable, notBefore.getTime() + this.#backdateMs);
      if (match) throw identityRefusal(cluster, name, revocable, match);
    }
    return { kind: 'node', cluster, name, role: record.role, serial, notAfterMs: notAfter.getTime() };
  }

  #parse({ raw, fingerprint256 }: { raw: Buffer; fingerprint256: string }): CertificateInfo {
    const known = this.#parsed.get(fingerprint256);
    if (known) return known;
    const info = parseCertificate(raw);
    if (this.#parsed.size >= maxCached) this.#parsed.delete(this.#parsed.keys().next().value ?? '');
    this.#parsed.set(fingerprint256, info);
    return info;
  }
}
