import { createHash, X509Certificate } from 'node:crypto';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { RecoveryPolicy } from '@evercert/shared/manifest';
import { verifyRecovery } from '@evercert/shared/wire';
import { type CertificateInfo, openCsr, parseCertificate, verifyChain } from '@evercert/shared/x509';
import type { ControlCa } from '../ca/control-ca.ts';
import type { NodeIdentities } from '../enrollment/identities.ts';
import { type NodeName, nodeOfIdentity } from '../identity-uris.ts';
import type { RepairWindows } from '../repair/windows.ts';
import type { RemovedNodes } from '../replacement/returned.ts';
import type { RemovedNodeRecord } from '../replacement/types.ts';
import type { Model } from '../state/model.ts';
import type { CertificateRecord, NodeRecord } from '../state/records.ts';
import type { ClockMark } from './clock-mark.ts';
import type { Nonces } from './nonces.ts';
import { forgedIdentity, type Refusals, staleIdentity } from './refusals.ts';

export interface RecoveryRequest {
  nonce: Uint8Array;
  /** DER of the identity that the node has. */
  certificate: Uint8Array;
  csr: Uint8Array;
  signature: Uint8Array;
}

export interface RecoveryOptions {
  nonces: Nonces;
  windows: RepairWindows;
  mark: ClockMark;
  refusals: Refusals;
  identities: NodeIdentities;
  model: Model;
  controlCa: Pick<ControlCa, 'signerOf' | 'standing' | 'trusts'>;
  nowMs: () => number;
  /** Nodes that were removed: their machines do not come back. */
  removed: Pick<RemovedNodes, 'find' | 'cameBack'>;
  /** What names the serial number of an identity as revoked; undefined: nothing. */
  revokedBy: (cluster: string, serial: string, issuedAtMs: number) => EvercertError | undefined;
  /** How far notBefore is set back from the issue, milliseconds. */
  backdateMs: number;
}

/** Far above any identity, request or signature of ours. */
const limits = { certificate: 16 * 1024, csr: 64 * 1024, signature: 1024 };
/** A waiting node is told to come back so soon, and later when many wait: so many calls a second at most. */
const hint = { leastMs: 3000, mostMs: 30_000, perSecond: 50 };

interface Proven {
  node: NodeName;
  info: CertificateInfo;
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  fingerprint: string;
  /** The key that signed the identity may be in strange hands. */
  compromised: boolean;
}

/**
 * Gives nodes whose identity opens no mTLS a new one: it has expired, or is by a generation of the control CA that is retired. Whoever calls is a stranger until nonce, chain and signature have been checked, in this order; before that, every failure is
 * the same refusal, and nothing is told about nodes (invariant 12).
 */
export class Recovery {
  readonly #options: RecoveryOptions;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** A nonce that is good for one `recover` within a minute. `source`: who counts as one among those who ask. Overloaded: too many are asked for. */
  begin(source: string): Buffer {
    return this.#options.nonces.give(source);
  }

  /**
   * Errors: RecoveryRefused (nonce, chain, signature, another certificate than was recorded, an older identity than the newest), Revoked, PermissionDenied (the policy is `never`), RecoveryNotOpen with a hint (no window),
   * FailedPrecondition (the coordinator's clock was moved back), and those of CertificateIssuer.issue. Every refusal is an event.
   */
  async recover(request: RecoveryRequest, peer: string): Promise<CertificateRecord> {
    const { refusals } = this.#options;
    let proven: Proven | undefined;
    try {
      proven = await this.#prove(request);
      const record = await this.#grant(proven, request, peer);
      refusals.forget(proven.node.cluster, proven.node.name);
      return record;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.code !== 'Overloaded' && error.code !== 'Conflict') {
        refusals.tell({ node: proven?.node, serial: proven?.info.serial, peer, error });
      }
      throw error;
    }
  }

  /** Who asks, by the identity's key. */
  async #prove({ nonce, certificate, csr, signature }: RecoveryRequest): Promise<Proven> {
    // First of all and whatever follows: a nonce that was shown once is used up.
    if (!this.#options.nonces.use(nonce)) throw refused('the nonce is unknown, used or older than a minute: begin again');
    if (certificate.length > limits.certificate || csr.length > limits.csr || signature.length > limits.signature) {
      throw refused('certificate, request or signature is larger than any of ours');
    }
    const der = Buffer.from(certificate);
    const proven = this.#identity(der);
    const statement = { nonce, certificate, csr };
    if (!(await verifyRecovery(new X509Certificate(der).publicKey, statement, signature))) {
      throw refused("the signature is not by the identity's key over this nonce, certificate and request");
    }
    return proven;
  }

  #identity(der: Buffer): Proven {
    try {
      const info = parseCertificate(der);
      // Any generation that ever was: whoever slept while it was replaced has nothing else.
      const signer = this.#options.controlCa.signerOf(der);
      const anchors = signer ? [Buffer.from(signer.generation.certificate, 'base64')] : [];
      // By the identity's own time: that it has expired since may be why its node is here. What counts is who signed it.
      verifyChain({ chain: [der], anchors, atMs: info.notAfter.getTime(), usage: 'client auth' });
      const node = nodeOfIdentity(info.uris);
      const fingerprint = createHash('sha256').update(der).digest('hex');
      if (node) return { info, node, fingerprint, compromised: signer?.compromised ?? true };
    } catch (error) {
      throw refused('the certificate was not issued by this control CA, or cannot be read', error);
    }
    throw refused('the certificate is no identity of a node');
  }

  async #grant(proven: Proven, request: RecoveryRequest, peer: string): Promise<CertificateRecord> {
    const { node, info } = proven;
    const { model, identities, mark, windows, controlCa } = this.#options;
    const record = model.node(node.cluster, node.name);
    const removed = this.#options.removed.find(node.cluster, info.serial);
    if (removed && !record?.identitySerials.includes(info.serial)) {
      this.#options.removed.cameBack({ cluster: node.cluster, serial: info.serial, peer });
      throw removedError(removed);
    }
    if (!record) throw refused(`node ${node.name} does not exist (any more) in cluster ${node.cluster}`);
    await this.#checkRecorded(record, proven);
    const newest = record.identitySerials[0] === info.serial;
    // An answer that was lost is given again: the new key is that of the newest identity, and the node has just proved both keys.
    const again = newest ? undefined : await this.#lostAnswer(record, request.csr);
    if (!newest && !again) throw staleError(record, info);
    this.#checkRevoked(node, info, again);
    if (again && controlCa.trusts(again)) return again;
    const byWindow = this.#checkAdmitted(record, proven, again);
    mark.check();
    const csr = await openCsr(request.csr);
    if (csr.spkiSha256 === info.spkiSha256)
      throw new EvercertError('KeyInUse', "the request has the expired identity's own key: make a new one");
    return identities.recover(node, request.csr, again?.serial ?? info.serial, {
      compares: byWindow ? [windows.unchanged(node.cluster, node.name)] : [],
      operations: [mark.raiseOperation()],
    });
  }

  /** Serial numbers are no secret, and a signature proves nothing once the key is in strange hands: it has to be the very certificate. */
  async #checkRecorded(record: NodeRecord, { info, fingerprint, compromised }: Proven): Promise<void> {
    if (!record.identitySerials.includes(info.serial)) return;
    const recorded = await this.#options.identities.recordedFingerprint(record, info.serial);
    if (recorded === fingerprint || (recorded === undefined && !compromised)) return;
    throw new EvercertError(
      'RecoveryRefused',
      recorded === undefined
        ? `identity ${info.serial} is by a control CA whose key is compromised, and how it was issued is not known any more: let node ${record.name} join again with a token made for its name`
        : `this is not the identity ${info.serial} that node ${record.name} was given: somebody else made it with the control CA's key`,
      { metadata: { reason: forgedIdentity, serial: info.serial } },
    );
  }

  /**
   * An identity that has not ended shows as much here as it does over mTLS, where its generation is not taken any more: it is renewed. One that has ended comes back as the policy
   * says; and what a compromised key signed, with an administrator's word alone. True: by a repair window.
   */
  #checkAdmitted(record: NodeRecord, { info, compromised }: Proven, again: CertificateRecord | undefined): boolean {
    const policy = this.#policyOf(record);
    const endsMs = again?.notAfterMs ?? info.notAfter.getTime();
    if (!compromised && endsMs > this.#options.nowMs()) return false;
    if (policy === 'never') {
      throw new EvercertError(
        'PermissionDenied',
        `the cluster lets no ${record.role} node come back on an expired identity: let it join again with a token made for its name ('evercert token create --role ${record.role} --node-name ${record.name}')`,
      );
    }
    if (policy === 'automatic' && !compromised) return false;
    this.#checkWindow(record);
    return true;
  }

  async #lostAnswer(node: NodeRecord, csrDer: Uint8Array): Promise<CertificateRecord | undefined> {
    try {
      const csr = await openCsr(csrDer);
      return await this.#options.identities.newestByKey(node, csr.spkiSha256);
    } catch (error) {
      // A request that cannot be read proves nothing; the older identity decides.
      if (error instanceof EvercertError && (error.code === 'InvalidCsr' || error.code === 'WeakKey')) return undefined;
      throw error;
    }
  }

  #checkRevoked({ cluster }: NodeName, info: CertificateInfo, again: CertificateRecord | undefined): void {
    const { revokedBy, backdateMs } = this.#options;
    const found =
      revokedBy(cluster, info.serial, info.notBefore.getTime() + backdateMs) ??
      (again && revokedBy(cluster, again.serial, again.issuedAtMs));
    if (found) throw found;
  }

  #policyOf({ cluster, role }: NodeRecord): RecoveryPolicy {
    const policy = this.#options.model.cluster(cluster)?.policy;
    // Clusters from before there was a choice.
    return (role === 'control-plane' ? policy?.controlPlaneRecovery : policy?.workerRecovery) ?? 'repair-window';
  }

  #checkWindow({ cluster, name, role }: NodeRecord): void {
    const { windows, refusals, mark } = this.#options;
    if (windows.isOpen(cluster, name)) return;
    // A clock that was moved back is why a window may seem closed: say that instead.
    mark.check();
    const loadMs = (refusals.waiting(hint.mostMs) / hint.perSecond) * 1000;
    const which = role === 'control-plane' ? '' : ` --node ${name}`;
    throw new EvercertError(
      'RecoveryNotOpen',
      `no repair window is open for node ${name}: an administrator opens it by 'evercert repair ${cluster}${which}'`,
      {
        retryAfterMs: Math.min(hint.mostMs, Math.max(hint.leastMs, loadMs)),
      },
    );
  }
}

function refused(message: string, cause?: unknown): EvercertError {
  return new EvercertError('RecoveryRefused', message, { cause });
}

function removedError({ name, removedAtMs, by }: RemovedNodeRecord): EvercertError {
  return new EvercertError(
    'RecoveryRefused',
    `node ${name} was removed at ${new Date(removedAtMs).toISOString()} by ${by}, and this machine with it: a machine that is to be a node again joins with a new token`,
    { metadata: { reason: 'RemovedNode' } },
  );
}

function staleError({ name, identitySerials }: NodeRecord, info: CertificateInfo): EvercertError {
  const newest = identitySerials[0] ?? 'none';
  return new EvercertError(
    'RecoveryRefused',
    `identity ${info.serial} is not the newest of node ${name} (that is ${newest}): the node has renewed since, and this is an old copy of its folder; if the node itself was restored from a backup, let it join again with a token made for its name`,
    { metadata: { reason: staleIdentity, serial: info.serial } },
  );
}
