import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { CertificateInfo } from '@evercert/shared/x509';
import type { Learning } from '../backup/learning.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import { identityName, type NodeName, nodeUriOf } from '../identity-uris.ts';
import { currentOf } from '../issuance/issuer.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { RemovedNodes } from '../replacement/returned.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import {
  type CertificateRecord,
  type CurrentRecord,
  decodeRecord,
  encodeRecord,
  type NodeRecord,
  type PublicKeyRecord,
} from '../state/records.ts';
import type { Store } from '../store/index.ts';

export interface LearnedIdentitiesOptions {
  store: Store;
  model: Model;
  registry: NodeRegistry;
  revocations: Revocations;
  removed: Pick<RemovedNodes, 'find'>;
  events: EventRecorder;
  logger: Logger;
  learning: Learning;
  backdateMs: number;
}

/** An identity that was shown, with who signed it. */
export interface ShownIdentity {
  info: CertificateInfo;
  /** Serial of the control CA's generation that signed it, whose signature counts. */
  signedBy: string;
}

const accepted = 4;
const retryAfterMs = 500;

/**
 * After a restore from a backup: identities that nodes renewed since the backup. One is taken for its node's newest when this control CA signed it after the backup and before the restore, it is newer
 * than all that is known, and no removal and no revocation speaks against it. It is recorded before it is accepted.
 */
export class LearnedIdentities {
  readonly #options: LearnedIdentitiesOptions;
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(options: LearnedIdentitiesOptions) {
    this.#options = options;
  }

  /** Unavailable, with a hint: it is being learned, and accepted in a moment. Nothing: it is not one to be learned. */
  consider(node: NodeName, shown: ShownIdentity): void {
    const { model } = this.#options;
    const record = model.node(node.cluster, node.name);
    if (!record || !this.#isLearnable(record, shown)) return;
    this.#learn(node, shown);
    throw new EvercertError(
      'Unavailable',
      `the coordinator was restored from a backup and takes identity ${shown.info.serial} of node ${node.name} into its records: try again`,
      { retryAfterMs },
    );
  }

  #isLearnable(record: NodeRecord, { info }: ShownIdentity): boolean {
    const { learning, model, removed, revocations, backdateMs } = this.#options;
    const { cluster, name, identitySerials } = record;
    const issuedAtMs = info.notBefore.getTime() + backdateMs;
    if (!learning.covers(issuedAtMs)) return false;
    // A node that had not joined by then, or is being replaced, joins by a token.
    if (identitySerials.length === 0 || record.replacement) return false;
    if (info.uris.length !== 1 || info.uris[0] !== nodeUriOf({ cluster, name }) || info.keyAlgorithm === undefined) return false;
    const current = model.currents.get(layout.current(cluster, name, identityName))?.record;
    if (current && current.issuedAtMs >= issuedAtMs) return false;
    if (removed.find(cluster, info.serial)) return false;
    return [info.serial, ...identitySerials].every((serial) => revocations.matchSerial(cluster, serial, issuedAtMs) === undefined);
  }

  #learn(node: NodeName, shown: ShownIdentity): void {
    const { logger } = this.#options;
    const { serial } = shown.info;
    if (this.#underWay.has(serial)) return;
    const work = this.#record(node, shown)
      .catch((error: unknown) => {
        const { code, message } = toEvercertError(error);
        logger.warn('an identity from after the backup cannot be recorded; it is tried again when its node calls', {
          serial,
          code,
          error: message,
        });
      })
      .finally(() => this.#underWay.delete(serial));
    this.#underWay.set(serial, work);
  }

  async #record({ cluster, name }: NodeName, shown: ShownIdentity): Promise<void> {
    const { store, registry, model, events, revocations } = this.#options;
    const unchanged = revocations.unchanged(cluster);
    const earlier = await registry.read(cluster, name);
    if (!earlier || !this.#isLearnable(earlier.record, shown)) return;
    const record = this.#certificate({ cluster, name }, shown);
    const keys = {
      certificate: layout.certificate(cluster, record.serial),
      publicKey: layout.publicKey(record.spkiSha256),
      current: layout.current(cluster, name, identityName),
    };
    const current = await store.get(keys.current);
    if (current && decodeRecord<CurrentRecord>(keys.current, current.value).issuedAtMs >= record.issuedAtMs) return;
    const newest = currentOf(record);
    const after = withLearned(earlier.record, record, newest.fingerprint ?? '');
    const node = await registry.write(after, earlier);
    const { succeeded, revision } = await store.transact(
      [
        ...node.compares,
        { key: keys.certificate, modRevision: 0 },
        { key: keys.publicKey, modRevision: 0 },
        { key: keys.current, modRevision: current?.modRevision ?? 0 },
        unchanged,
      ],
      [
        ...node.operations,
        { type: 'put', key: keys.certificate, value: encodeRecord(record) },
        {
          type: 'put',
          key: keys.publicKey,
          value: encodeRecord<PublicKeyRecord>({ cluster, node: name, name: identityName, serial: record.serial }),
        },
        { type: 'put', key: keys.current, value: encodeRecord(newest) },
        events.operation({
          cluster,
          node: name,
          actor: `node/${cluster}/${name}`,
          reason: 'IdentityLearned',
          source: renewalSource(after.role),
          warning: true,
          certificate: identityName,
          serial: record.serial,
          message: `took the identity ${record.serial} of node ${name} over, which was issued at ${new Date(record.issuedAtMs).toISOString()}, after the backup that this store was restored from; if the node was deleted since then, delete it again`,
        }),
      ],
    );
    if (!succeeded) throw new EvercertError('Conflict', `node ${name} changed at the same time`);
    model.nodes.accept(layout.node(cluster, name), after, revision);
  }

  #certificate({ cluster, name }: NodeName, { info, signedBy }: ShownIdentity): CertificateRecord {
    const { serial, commonName, organizations, dnsNames, ipAddresses, uris, usages, keyAlgorithm, spkiSha256, notBefore, notAfter } = info;
    return {
      cluster,
      node: name,
      name: identityName,
      issuer: 'control-ca',
      issuerSerial: signedBy,
      serial,
      commonName,
      organizations,
      dnsNames,
      ipAddresses,
      uris,
      usages,
      // Checked before.
      keyAlgorithm: keyAlgorithm!,
      spkiSha256,
      specHash: '',
      issuedAtMs: notBefore.getTime() + this.#options.backdateMs,
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
      reason: 'Learned',
      certificate: info.der.toString('base64'),
    };
  }
}

function withLearned(node: NodeRecord, { serial, notAfterMs }: CertificateRecord, fingerprint: string): NodeRecord {
  const identitySerials = [serial, ...node.identitySerials.filter((each) => each !== serial)].slice(0, accepted);
  const fingerprints = { ...node.identityFingerprints, [serial]: fingerprint };
  const identityFingerprints = Object.fromEntries(Object.entries(fingerprints).filter(([each]) => identitySerials.includes(each)));
  return { ...node, identitySerials, identityFingerprints, identityNotAfterMs: notAfterMs };
}
