import { createPublicKey } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { drawFor, renewalDueMs } from '@evercert/shared/schedule';
import { verifyAdoption } from '@evercert/shared/wire';
import { type CertificateInfo, parseCertificate, verifyChain } from '@evercert/shared/x509';
import type { Learning } from '../backup/learning.ts';
import { trustAnchors } from '../ca/authorities.ts';
import { generationsOf } from '../ca/generations.ts';
import { issuerSerialOf } from '../ca/path.ts';
import type { DesiredStates } from '../desired/desired-states.ts';
import { certificateDetails } from '../events/details.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import { notAccepted } from '../nodes/not-accepted.ts';
import { type Revocations, refusalError } from '../revocation/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import {
  type AuthorityRecord,
  type CertificateRecord,
  type CurrentRecord,
  decodeRecord,
  encodeRecord,
  type NodeRecord,
  type PublicKeyRecord,
} from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { differencesOf } from './differences.ts';
import { currentOf } from './issuer.ts';

export interface AdoptionRequest {
  cluster: string;
  node: string;
  name: string;
  /** DER, leaf first. */
  chain: readonly Uint8Array[];
  specHash: string;
  /** That the node holds the certificate's key (`signAdoption`). */
  proof: Uint8Array;
  /** Of the identity that the node called with. */
  identitySerial: string;
}

export interface Adopted {
  record: CertificateRecord;
  adoptedAtMs: number;
  renewAtMs: number;
  /** What the manifest would issue differently. */
  differences: string[];
}

export interface AdoptionsOptions {
  model: Model;
  desired: DesiredStates;
  store: Store;
  revocations: Revocations;
  events: EventRecorder;
  clock: Clock;
  /** What was issued here after a backup is taken into the records again. Absent: nothing is. */
  learning?: Pick<Learning, 'covers'>;
  backdateMs?: number;
}

const maxAttempts = 3;
const maxChain = 8;
/** A certificate that was taken over is renewed no later than after this part of the rest of its life, whatever the manifest says of lives that begin here. */
const restRenewAt = 2 / 3;

/** Takes certificates that are in place on nodes, and were not issued here, into management: from then on they are recorded, shown, revocable and renewed like all others. */
export class Adoptions {
  readonly #options: AdoptionsOptions;

  constructor(options: AdoptionsOptions) {
    this.#options = options;
  }

  /**
   * Idempotent by serial number. Errors: NotFound (not declared for this node), Unauthenticated (its identity was withdrawn meanwhile), StaleSpec, InvalidCertificate (cannot be read),
   * FailedPrecondition (the cluster takes none over; not of its CA; expired; a CA; succeeded by a newer one; another's), PermissionDenied (the node does not prove its key), Revoked.
   */
  async adopt(request: AdoptionRequest): Promise<Adopted> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#adoptOnce(request);
      } catch (error) {
        // Something that it rested on changed between decision and commit: decide again.
        if (!(error instanceof EvercertError && error.code === 'Conflict') || attempt === maxAttempts) throw error;
      }
    }
  }

  async #adoptOnce(request: AdoptionRequest): Promise<Adopted> {
    const { model, revocations, clock } = this.#options;
    const { cluster, node } = request;
    const registered = model.nodes.get(layout.node(cluster, node));
    const declared = this.#declared(request);
    if (!registered?.record.identitySerials.includes(request.identitySerial)) throw notAccepted(node, request.identitySerial);
    const nowMs = clock.nowMs();
    const info = this.#checked(request, declared, nowMs);
    await checkProof(request, info);
    const known = await this.#known(request, info);
    const authority = model.authority(cluster, declared.issuer);
    const learned = this.#isOurs(info, authority);
    if (!learned && !model.cluster(cluster)?.policy.adopt)
      throw refused(request.name, `cluster ${cluster} takes no certificates over (spec.adopt of its Cluster document)`);
    const fresh = newRecord(request, declared, info, { authority, nowMs });
    const record = known ?? (learned ? this.#asIssued(fresh) : fresh);
    const unchanged = revocations.unchanged(cluster);
    const [match] = revocations.matchIssued(record);
    // What was issued here is recorded above all where it is revoked: CRLs and OCSP tell of records.
    if (match && !learned) throw refusalError(cluster, { match, future: false }, nowMs);
    if (!known) await this.#commit(registered, record, declared, [unchanged]);
    return answer(record, declared, info, registered.record);
  }

  #declared({ cluster, node, name, specHash }: AdoptionRequest): ResolvedCertificate {
    const { desired } = this.#options;
    const declared = desired.plan(cluster, node)?.resolved.certificates.find((certificate) => certificate.name === name);
    if (!declared) {
      throw new EvercertError('NotFound', `no manifest declares a certificate ${name.slice(0, 63)} for node ${node}`, {
        metadata: { certificate: name.slice(0, 63), node },
      });
    }
    if (specHash !== declared.specHash) {
      throw new EvercertError('StaleSpec', `the declaration of ${name} has changed: wait for the new desired state`, {
        retryAfterMs: 1000,
      });
    }
    return declared;
  }

  /** It was issued here, after the backup that this store was restored from. */
  #isOurs({ notBefore }: CertificateInfo, authority: AuthorityRecord | undefined): boolean {
    const { learning, backdateMs = 0 } = this.#options;
    return authority?.keyId !== '' && learning?.covers(notBefore.getTime() + backdateMs) === true;
  }

  /** As the record of its issue was, as far as the certificate tells. */
  #asIssued({ adoptedAtMs: _notTaken, ...record }: CertificateRecord): CertificateRecord {
    return { ...record, issuedAtMs: record.notBeforeMs + (this.#options.backdateMs ?? 0), reason: 'Learned' };
  }

  /** All that makes it one of this cluster's own, and of use. */
  #checked({ cluster, name, chain }: AdoptionRequest, { issuer }: ResolvedCertificate, nowMs: number): CertificateInfo {
    const authority = this.#options.model.authority(cluster, issuer);
    const [leaf] = chain;
    if (!authority || leaf === undefined || chain.length > maxChain)
      throw refused(name, `expected a chain of 1 to ${maxChain} certificates`);
    const ders = chain.map((der) => Buffer.from(der));
    const info = parseCertificate(ders[0]!);
    if (info.isCa) throw refused(name, 'it is a CA certificate');
    if (info.keyAlgorithm === undefined) throw refused(name, `its key, ${info.keyDescription}, is of a kind that is not taken over`);
    if (info.notAfter.getTime() <= nowMs) throw refused(name, `it ended at ${info.notAfter.toISOString()}`);
    // More digits than RFC 5280 allows cannot be named by a revocation.
    if (!/^[0-9a-f]{2,40}$/.test(info.serial) || /^0+$/.test(info.serial))
      throw refused(name, 'its serial number is not one of 1 to 20 bytes');
    try {
      verifyChain({ chain: ders, anchors: trustAnchors(authority), atMs: Math.max(nowMs, info.notBefore.getTime()) });
    } catch (error) {
      throw refused(name, `it does not come from ${issuer}: ${error instanceof Error ? error.message : String(error)}`, error);
    }
    return info;
  }

  /** The record of a certificate that is here already. */
  async #known({ cluster, node, name }: AdoptionRequest, info: CertificateInfo): Promise<CertificateRecord | undefined> {
    const { store, model } = this.#options;
    const key = layout.certificate(cluster, info.serial);
    const entry = await store.get(key);
    if (!entry) return undefined;
    const record = decodeRecord<CertificateRecord>(key, entry.value);
    if (record.node !== node || record.name !== name || record.certificate !== info.der.toString('base64')) {
      throw refused(
        name,
        `serial number ${info.serial} belongs to certificate ${record.name || 'of no name'} of node ${record.node || 'none'}`,
      );
    }
    const current = model.currents.get(layout.current(cluster, node, name))?.record.serial;
    if (current !== undefined && current !== record.serial) throw refused(name, `serial ${current} was issued after it`);
    return record;
  }

  async #commit(
    { record: node, modRevision }: { record: NodeRecord; modRevision: number },
    record: CertificateRecord,
    declared: ResolvedCertificate,
    compares: { key: string; modRevision: number }[],
  ): Promise<void> {
    const { store, events } = this.#options;
    const { cluster, name, serial, notAfterMs, issuer, spkiSha256 } = record;
    const keys = {
      certificate: layout.certificate(cluster, serial),
      publicKey: layout.publicKey(spkiSha256),
      current: layout.current(cluster, node.name, name),
    };
    const owner = await store.get(keys.publicKey);
    if (owner) throw refused(name, 'its key belongs to another certificate here: each needs a key of its own');
    const before = await store.get(keys.current);
    if (before && !this.#mayFollow(decodeRecord<CurrentRecord>(keys.current, before.value), record, declared)) {
      throw refused(name, 'a certificate of this name was issued here after it');
    }
    const { succeeded } = await store.transact(
      [
        { key: layout.node(cluster, node.name), modRevision },
        { key: keys.certificate, modRevision: 0 },
        { key: keys.publicKey, modRevision: 0 },
        { key: keys.current, modRevision: before?.modRevision ?? 0 },
        ...compares,
      ],
      [
        { type: 'put', key: keys.certificate, value: encodeRecord(record) },
        { type: 'put', key: keys.publicKey, value: encodeRecord<PublicKeyRecord>({ cluster, node: node.name, name, serial }) },
        { type: 'put', key: keys.current, value: encodeRecord(currentOf(record)) },
        events.operation({
          cluster,
          node: node.name,
          actor: `node/${cluster}/${node.name}`,
          reason: record.adoptedAtMs === undefined ? 'CertificateLearned' : 'CertificateAdopted',
          source: renewalSource(node.role),
          certificate: name,
          serial,
          message: `took ${name} ${record.adoptedAtMs === undefined ? 'into the records, which was issued after the backup that this store was restored from' : 'over as it is in place'}: by ${issuer}, until ${new Date(notAfterMs).toISOString()}`,
          details: certificateDetails(record),
        }),
      ],
    );
    if (!succeeded)
      throw new EvercertError('Conflict', `node ${node.name} changed while ${name} was being taken over: try again`, { retryAfterMs: 100 });
  }

  /** What is only watched, or still as it was found, may have been renewed by whoever did it before: each newer one follows. After a renewal here nothing of others does. */
  #mayFollow(before: CurrentRecord, record: CertificateRecord, { issuer }: ResolvedCertificate): boolean {
    if (before.notAfterMs <= this.#options.clock.nowMs()) return true;
    if (record.adoptedAtMs === undefined) return record.issuedAtMs >= before.issuedAtMs;
    const others = before.adoptedAtMs !== undefined || this.#options.model.authority(record.cluster, issuer)?.keyId === '';
    return others && record.issuedAtMs >= before.issuedAtMs;
  }
}

/** Certificates are no secret: whoever has seen one could claim it otherwise, and with it its place in the records. */
async function checkProof({ name, proof, identitySerial }: AdoptionRequest, info: CertificateInfo): Promise<void> {
  const key = createPublicKey({ key: info.spki, format: 'der', type: 'spki' });
  if (await verifyAdoption(key, { certificate: info.der, identitySerial }, proof)) return;
  throw new EvercertError(
    'PermissionDenied',
    `the certificate in place for ${name.slice(0, 63)} is not taken over: the proof is not by its key`,
  );
}

function newRecord(
  { cluster, node, name, specHash }: AdoptionRequest,
  { issuer }: ResolvedCertificate,
  info: CertificateInfo,
  { authority, nowMs }: { authority: AuthorityRecord | undefined; nowMs: number },
): CertificateRecord {
  const { serial, commonName, organizations, dnsNames, ipAddresses, uris, usages, keyAlgorithm, spkiSha256, notBefore, notAfter } = info;
  const generations = (authority ? generationsOf(authority) : []).map(({ generation }) => Buffer.from(generation.certificate, 'base64'));
  const issuerSerial = issuerSerialOf(info, generations);
  return {
    cluster,
    node,
    name,
    issuer,
    ...(issuerSerial !== undefined && { issuerSerial }),
    serial,
    commonName,
    organizations,
    dnsNames,
    ipAddresses,
    uris,
    usages,
    // Checked before: a key of another kind is not taken over.
    keyAlgorithm: keyAlgorithm!,
    spkiSha256,
    specHash,
    issuedAtMs: notBefore.getTime(),
    notBeforeMs: notBefore.getTime(),
    notAfterMs: notAfter.getTime(),
    reason: 'Adopted',
    certificate: info.der.toString('base64'),
    adoptedAtMs: nowMs,
  };
}

/** As if it had been issued when it was taken over, with the life that the manifest gives; and not after two thirds of the rest of its own. */
function answer(record: CertificateRecord, declared: ResolvedCertificate, info: CertificateInfo, node: NodeRecord): Adopted {
  const adoptedAtMs = record.adoptedAtMs ?? record.issuedAtMs;
  const { serial, notAfterMs, issuedAtMs, name } = record;
  const draw = drawFor(serial);
  const asIssued = { issuedAtMs: adoptedAtMs, notAfterMs: adoptedAtMs + declared.lifetimeSeconds * 1000, renewAt: declared.renewAt, draw };
  const dueMs = Math.min(renewalDueMs(asIssued), renewalDueMs({ issuedAtMs: adoptedAtMs, notAfterMs, renewAt: restRenewAt, draw }));
  // Somebody asked for everything older than this to be renewed.
  const renewBeforeMs = Math.max(node.renewIfIssuedBeforeMs[name] ?? 0, node.renewIfIssuedBeforeMs['*'] ?? 0);
  return {
    record,
    adoptedAtMs,
    renewAtMs: issuedAtMs < renewBeforeMs ? adoptedAtMs : dueMs,
    differences: differencesOf(declared, info).map(({ message }) => message),
  };
}

function refused(name: string, why: string, cause?: unknown): EvercertError {
  return new EvercertError('FailedPrecondition', `the certificate in place for ${name.slice(0, 63)} is not taken over: ${why}`, {
    ...(cause !== undefined && { cause }),
  });
}
