import { randomBytes } from 'node:crypto';
import { type AuditCheckpoint, checkpointBytes, encodeSignature } from '@evercert/shared/audit';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { issueLeaf, type LeafProfile, newSerial, type PreparedIssuer, spkiDer } from '@evercert/shared/x509';
import type { EventRecorder } from '../events/recorder.ts';
import type { KeyProvider, Signer } from '../keys/index.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { AuditSignerRecord } from './records.ts';

export interface CheckpointSignerOptions {
  /** Writes only while this coordinator leads. */
  store: Store;
  keys: KeyProvider;
  controlCa: { readonly record: AuthorityRecord; issuer(): Promise<PreparedIssuer> };
  events: Pick<EventRecorder, 'operation'>;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  lifetimeMs: number;
}

interface Ready {
  record: AuditSignerRecord;
  signer: Signer;
}

const profile: LeafProfile = {
  commonName: 'evercert-audit',
  organizations: [],
  dnsNames: [],
  ipAddresses: [],
  uris: [],
  usages: ['digital signature'],
  auditSigning: true,
};

/**
 * Signs the audit log's checkpoints by a key of its own, with a certificate from the control CA. A new key is made at two thirds of the certificate's life, when the control CA's
 * own key is another, and where the key is not at hand: the key provider of this machine may not be that of the leader before.
 */
export class CheckpointSigner {
  readonly #options: CheckpointSignerOptions;
  #ready: Ready | undefined;

  constructor(options: CheckpointSignerOptions) {
    this.#options = options;
  }

  /** Signs the log's state. Errors: those of the key provider and the store. */
  async sign(state: { log: string; sequence: number; hash: string }): Promise<AuditCheckpoint> {
    const { record, signer } = await this.#signer();
    const time = new Date(this.#options.clock.nowMs()).toISOString();
    const body = { type: 'checkpoint' as const, ...state, time, certificate: record.certificate };
    return { ...body, signature: encodeSignature(await signer.sign(checkpointBytes(body))) };
  }

  async #signer(): Promise<Ready> {
    if (this.#ready && this.#isGood(this.#ready.record)) return this.#ready;
    const entry = await this.#options.store.get(layout.auditSigner);
    const record = entry && decodeRecord<AuditSignerRecord>(entry.key, entry.value);
    const signer = record && this.#isGood(record) ? await this.#open(record.keyId) : undefined;
    this.#ready = record && signer ? { record, signer } : await this.#renew(entry?.modRevision ?? 0, record);
    return this.#ready;
  }

  #isGood({ issuerSerial, issuedAtMs, notAfterMs }: AuditSignerRecord): boolean {
    const { controlCa, clock } = this.#options;
    const nowMs = clock.nowMs();
    return issuerSerial === controlCa.record.serial && nowMs >= issuedAtMs && nowMs < issuedAtMs + ((notAfterMs - issuedAtMs) * 2) / 3;
  }

  async #open(keyId: string): Promise<Signer | undefined> {
    try {
      return await this.#options.keys.signer(keyId);
    } catch (error) {
      if (error instanceof EvercertError && error.code === 'NotFound') return undefined;
      throw error;
    }
  }

  async #renew(modRevision: number, before: AuditSignerRecord | undefined): Promise<Ready> {
    const { store, keys, events } = this.#options;
    const keyId = `audit/${randomBytes(8).toString('hex')}`;
    const signer = await keys.generate(keyId, 'ecdsa-p256');
    const record = await this.#certify(keyId, signer);
    const event = events.operation({
      actor: 'coordinator',
      reason: 'AuditKeyRenewed',
      serial: record.serial,
      message: `made a key that signs the audit log until ${new Date(record.notAfterMs).toISOString()}`,
      details: { issuer: 'control-ca', issuerSerial: record.issuerSerial },
    });
    const put = { type: 'put' as const, key: layout.auditSigner, value: encodeRecord(record) };
    const { succeeded } = await store.transact([{ key: layout.auditSigner, modRevision }], [put, event]);
    if (!succeeded) {
      await keys.delete(keyId);
      throw new EvercertError('Conflict', "another coordinator made the audit log's key at the same time: trying again");
    }
    if (before) await this.#forget(before.keyId);
    return { record, signer };
  }

  async #certify(keyId: string, signer: Signer): Promise<AuditSignerRecord> {
    const { controlCa, clock, backdateMs, lifetimeMs } = this.#options;
    const issuer = await controlCa.issuer();
    const issuedAtMs = clock.nowMs();
    const notAfterMs = Math.min(issuedAtMs + lifetimeMs, issuer.notAfter.getTime());
    const serial = newSerial();
    const certificate = await issueLeaf(issuer, {
      spki: spkiDer(signer.publicKey),
      keyAlgorithm: 'ecdsa-p256',
      profile,
      serial,
      notBefore: new Date(issuedAtMs - backdateMs),
      notAfter: new Date(notAfterMs),
    });
    const issuerSerial = controlCa.record.serial;
    return { keyId, certificate: certificate.toString('base64'), serial, issuerSerial, issuedAtMs, notAfterMs };
  }

  /** It signs nothing any more; that it is still there harms nobody. */
  async #forget(keyId: string): Promise<void> {
    try {
      await this.#options.keys.delete(keyId);
    } catch (error) {
      this.#options.logger.warn('cannot delete a key of the audit log that is over', { keyId, error: describeError(error) });
    }
  }
}
