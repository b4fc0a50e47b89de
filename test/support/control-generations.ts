/** Rotations of the control CA in steps, as whoever rotates writes them: for tests of those who follow. */
import type { KeyObject } from 'node:crypto';
import { decodeRecord, encodeRecord, layout } from '@evercert/coordinator';
import { Authorities, type AuthorityRecord, activated, retired, spread, withCompromised, withNext } from '@evercert/coordinator/ca';
import type { KeyProvider, Signer } from '@evercert/coordinator/keys';
import type { Store } from '@evercert/coordinator/store';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { generateKeyPair, issueLeaf, newSerial, type PreparedIssuer, signerFor, spkiDer, type Usage } from '@evercert/shared/x509';

/** Keys in memory. */
export class MemoryKeys implements KeyProvider {
  readonly keys = new Map<string, KeyObject>();

  async generate(id: string, algorithm: Parameters<KeyProvider['generate']>[1]): Promise<Signer> {
    return this.import(id, (await generateKeyPair(algorithm)).privateKey);
  }

  async import(id: string, privateKey: KeyObject): Promise<Signer> {
    this.keys.set(id, privateKey);
    return this.signer(id);
  }

  async signer(id: string): Promise<Signer> {
    const key = this.keys.get(id);
    if (!key) throw new EvercertError('NotFound', `there is no key ${id}`);
    return signerFor(key) as Signer;
  }

  async exportShared(id: string): Promise<string> {
    throw new EvercertError('PermissionDenied', `${id} is not shared`);
  }

  async delete(id: string): Promise<void> {
    this.keys.delete(id);
  }

  async list(): Promise<string[]> {
    return [...this.keys.keys()];
  }

  async kindOf(): Promise<'file'> {
    return 'file';
  }

  async close(): Promise<void> {
    this.keys.clear();
  }
}

/** The steps of a rotation on a record alone. */
export class ControlGenerations {
  readonly authorities: Authorities;
  readonly #clock: Clock;
  record: AuthorityRecord;

  static async create({ clock, keys = new MemoryKeys() }: { clock: Clock; keys?: KeyProvider }): Promise<ControlGenerations> {
    const authorities = new Authorities({ keys, clock, backdateMs: 60_000 });
    return new ControlGenerations(authorities, clock, await authorities.create('_control', 'control-ca', 'ecdsa-p256'));
  }

  constructor(authorities: Authorities, clock: Clock, record: AuthorityRecord) {
    this.authorities = authorities;
    this.#clock = clock;
    this.record = record;
  }

  /** Preparing and Spreading: everybody trusts both. */
  async spread(): Promise<this> {
    this.record = spread(withNext(this.record, await this.authorities.createNext(this.record, 'ecdsa-p256')));
    return this;
  }

  /** Activating: the new one signs. */
  activate(): this {
    const nowMs = this.#clock.nowMs();
    this.record = activated(this.record, { nowMs, lastLeafNotAfterMs: nowMs + 3600_000 });
    return this;
  }

  /** Retiring: everybody trusts the new one alone. */
  retire(): this {
    this.record = retired(this.record, this.#clock.nowMs());
    return this;
  }

  /** The generation before the present one is in strange hands. */
  compromise(): this {
    this.record = withCompromised(this.record, this.record.earlier?.[0]?.serial ?? '');
    return this;
  }

  /** A whole rotation. */
  async rotate(): Promise<this> {
    return (await this.spread()).activate().retire();
  }

  /** DER of the present generation's certificate. */
  get root(): Buffer {
    return Buffer.from(this.record.certificate, 'base64');
  }
}

export interface TestLeaf {
  privateKey: KeyObject;
  der: Buffer;
}

/** A leaf for localhost by this issuer. */
export async function leafBy(issuer: PreparedIssuer, nowMs: number, change: { usages?: Usage[]; uris?: string[] } = {}): Promise<TestLeaf> {
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const { usages = ['digital signature', 'server auth', 'client auth'], uris = [] } = change;
  const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], uris };
  const der = await issueLeaf(issuer, {
    spki: spkiDer(privateKey),
    keyAlgorithm: 'ecdsa-p256',
    profile: { commonName: 'test', organizations: [], ...names, usages },
    serial: newSerial(),
    notBefore: new Date(nowMs - 60_000),
    notAfter: new Date(nowMs + 3_000_000),
  });
  return { privateKey, der };
}

/** Carries a change of the record out in the store of a coordinator that runs, as whoever rotates does. */
export async function changeControlCa(
  { store, keys, clock }: { store: Store; keys: KeyProvider; clock: Clock },
  change: (generations: ControlGenerations) => Promise<unknown> | unknown,
): Promise<AuthorityRecord> {
  const entry = await store.get(layout.controlCa);
  if (!entry) throw new Error('the coordinator has no control CA yet');
  const { key, modRevision } = entry;
  const authorities = new Authorities({ keys, clock, backdateMs: 60_000 });
  const generations = new ControlGenerations(authorities, clock, decodeRecord<AuthorityRecord>(key, entry.value));
  await change(generations);
  const { succeeded } = await store.transact([{ key, modRevision }], [{ type: 'put', key, value: encodeRecord(generations.record) }]);
  if (!succeeded) throw new Error('somebody else changed the control CA');
  return generations.record;
}
