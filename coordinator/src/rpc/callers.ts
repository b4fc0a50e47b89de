import { createHash } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { RoleName } from '@evercert/shared/manifest';
import { identityNotValid } from '@evercert/shared/wire';
import { type CertificateInfo, parseCertificate } from '@evercert/shared/x509';
import type { ControlCa } from '../ca/control-ca.ts';
import type { LearnedIdentities } from '../enrollment/learned-identities.ts';
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
  controlCa: Pick<ControlCa, 'signerOf' | 'standing'>;
  /** Takes identities up that were issued after the backup that the store was restored from. Absent: none are. */
  learned?: Pick<LearnedIdentities, 'consider'> | undefined;
}

/** What is said and shown once and for all by a certificate. */
interface Peer {
  info: CertificateInfo;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  fingerprint: string;
  /** Serial of the generation of the control CA that signed it; empty: none that is known. */
  signedBy: string;
}

/** Tells who calls from the client certificate, anew on every call: what was true when the connection opened may not be true any more (invariant 9). */
export class Callers {
  readonly #model: Model;
  readonly #clock: Clock;
  readonly #revocations: Revocations;
  readonly #backdateMs: number;
  readonly #removed: Pick<RemovedNodes, 'find' | 'cameBack'>;
  readonly #controlCa: CallersOptions['controlCa'];
  readonly #learned: CallersOptions['learned'];
  readonly #parsed = new Map<string, Peer>();

  constructor(options: CallersOptions) {
    this.#model = options.model;
    this.#clock = options.clock;
    this.#revocations = options.revocations;
    this.#backdateMs = options.backdateMs;
    this.#removed = options.removed;
    this.#controlCa = options.controlCa;
    this.#learned = options.learned;
  }

  /**
   * @param peer the certificate that the TLS layer verified against the control CA; undefined when there was none or it did not verify.
   * @param from `address:port` of the connection, for what is told of a removed node that comes back; undefined: the call was admitted before, and is no return.
   * Errors: IdentityExpired (it ran out while the connection was open), Unauthenticated (it is no identity of ours, one that is not accepted any more, or by a key that is not), Revoked.
   */
  identify(peer: { raw: Buffer; fingerprint256: string } | undefined, from: string | undefined): Caller {
    if (!peer) return { kind: 'anonymous' };
    const { info, fingerprint, signedBy } = this.#parse(peer);
    const notAfterMs = info.notAfter.getTime();
    if (notAfterMs <= this.#clock.nowMs()) {
      throw new EvercertError('IdentityExpired', `the client certificate ${info.serial} expired at ${info.notAfter.toISOString()}`);
    }
    const standing = this.#controlCa.standing(signedBy);
    if (standing === undefined) throw notTrusted(info);
    const believed = standing === 'trusted';
    const admin = adminOfIdentity(info.uris);
    // No record says which admins there are: all that speaks for one is the signature.
    if (admin !== undefined && !believed) throw compromised(info);
    if (admin !== undefined) return { kind: 'admin', name: admin, serial: info.serial, notAfterMs };
    const node = nodeOfIdentity(info.uris);
    if (node) return this.#node(node, { info, fingerprint, believed, signedBy }, from);
    throw new EvercertError('Unauthenticated', 'the client certificate is neither a node identity nor an admin identity');
  }

  #node({ cluster, name }: NodeName, { info, fingerprint, believed, signedBy }: Identified, from: string | undefined): Caller {
    const { serial, notBefore, notAfter } = info;
    const record = this.#model.node(cluster, name);
    const place = record?.identitySerials.indexOf(serial) ?? -1;
    if (!record || place < 0) {
      if (believed) this.#learned?.consider({ cluster, name }, { info, signedBy });
      if (from !== undefined) this.#removed.cameBack({ cluster, serial, peer: from });
      throw notAccepted(name, serial, this.#removed.find(cluster, serial));
    }
    // Serial numbers are no secret: whoever has the CA's key can put one into a certificate of his own. Identities from before fingerprints were kept go by the signature.
    const recorded = this.#model.identityFingerprint(record, serial);
    // The audit log told its serial number at the restore, and nobody has the whole yet.
    if (recorded === undefined && believed) this.#learned?.consider({ cluster, name }, { info, signedBy });
    if (recorded === undefined ? !believed : recorded !== fingerprint) throw forged(name, info);
    // The newest first. Who revokes an identity means the node: an earlier one, that a thief may hold a copy of, is not accepted in its place.
    for (const revocable of record.identitySerials.slice(0, place + 1)) {
      const match = this.#revocations.matchSerial(cluster, revocable, notBefore.getTime() + this.#backdateMs);
      if (match) throw identityRefusal(cluster, name, revocable, match);
    }
    return { kind: 'node', cluster, name, role: record.role, serial, notAfterMs: notAfter.getTime() };
  }

  #parse({ raw, fingerprint256 }: { raw: Buffer; fingerprint256: string }): Peer {
    const known = this.#parsed.get(fingerprint256);
    if (known) return known;
    const fingerprint = createHash('sha256').update(raw).digest('hex');
    const peer = { info: parseCertificate(raw), fingerprint, signedBy: this.#controlCa.signerOf(raw)?.generation.serial ?? '' };
    if (this.#parsed.size >= maxCached) this.#parsed.delete(this.#parsed.keys().next().value ?? '');
    this.#parsed.set(fingerprint256, peer);
    return peer;
  }
}

type Identified = Peer & {
  /** Whether the signature alone says something. */
  believed: boolean;
};

function notTrusted({ serial }: CertificateInfo): EvercertError {
  return new EvercertError('Unauthenticated', `the client certificate ${serial} is by a control CA that is not trusted any more`, {
    metadata: { reason: identityNotValid },
  });
}

function compromised({ serial }: CertificateInfo): EvercertError {
  return new EvercertError(
    'Unauthenticated',
    `the admin certificate ${serial} is by a control CA whose key is compromised: take the admin credential that the coordinator has written since (the folder admin in its data folder)`,
  );
}

function forged(name: string, { serial }: CertificateInfo): EvercertError {
  return new EvercertError(
    'Unauthenticated',
    `the client certificate is not the identity ${serial} that node ${name} was given: somebody else made it with the control CA's key`,
    { metadata: { reason: 'ForgedIdentity', serial } },
  );
}
