import { X509Certificate } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type PreparedIssuer, publicKeyPin } from '@evercert/shared/x509';
import { type Cached, Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, type CertificateRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { type Authorities, trustAnchors } from './authorities.ts';
import { chainBehind } from './control-chain.ts';
import { anchorOf, currentGeneration, type GenerationView, generationsOf, issuingGeneration } from './generations.ts';

export interface ControlCaOptions {
  store: Store;
  authorities: Authorities;
  clock: Clock;
  logger: Logger;
}

/**
 * The CA of Evercert's own identities, as the store has it now. Everybody asks here, each time anew: a rotation changes the record while coordinators run, and whoever kept a copy
 * would sign by, or trust, a key that is over.
 */
export class ControlCa {
  readonly #store: Store;
  readonly #authorities: Authorities;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #informer: Informer<AuthorityRecord>;
  readonly #listeners = new Set<(record: AuthorityRecord) => void>();
  #known: Cached<AuthorityRecord> | undefined;
  #standings: ReadonlyMap<string, 'trusted' | 'compromised'> = new Map();

  constructor({ store, authorities, clock, logger }: ControlCaOptions) {
    this.#store = store;
    this.#authorities = authorities;
    this.#clock = clock;
    this.#logger = logger;
    this.#informer = new Informer(store, layout.controlCa, logger, clock);
    this.#informer.subscribe((change) => {
      if (change.key !== layout.controlCa) return;
      if (change.type === 'delete') logger.error('the record of the control CA was taken out of the store; what it said stands', {});
      else this.#take();
    });
  }

  /** Reads the record, or makes it: of several coordinators that start at once, one makes the CA and the others take it. */
  async start(): Promise<void> {
    await this.#informer.start();
    if (!this.#known) await this.#create();
  }

  async stop(): Promise<void> {
    await this.#informer.stop();
  }

  get record(): AuthorityRecord {
    return this.cached.record;
  }

  /** The record with its revision, for whoever changes it. */
  get cached(): Cached<AuthorityRecord> {
    if (!this.#known) throw new EvercertError('FailedPrecondition', 'the control CA is not read yet');
    return this.#known;
  }

  /** Puts a committed write of this process in at once. */
  accept(record: AuthorityRecord, modRevision: number): void {
    this.#informer.accept(layout.controlCa, record, modRevision);
  }

  /** DER of the roots that everybody trusts for now: two during a rotation. */
  anchors(): Buffer[] {
    return trustAnchors(this.record);
  }

  /** Pin of the present root. */
  pin(): string {
    return pinOf(anchorOf(currentGeneration(this.record)));
  }

  /** Pins of all roots that are trusted, the present one first; any of them finds the coordinator. */
  pins(): string[] {
    return [...new Set([this.pin(), ...this.record.bundle.map(pinOf)])];
  }

  /** Pins of roots that were trusted once and are not any more, the newest first: nobody is to be found by them. */
  retiredPins(): string[] {
    const trusted = this.pins();
    const retired = generationsOf(this.record).filter(({ state }) => state === 'retired');
    return [...new Set(retired.map(({ generation }) => pinOf(anchorOf(generation))))]
      .filter((pin) => !trusted.includes(pin))
      .slice(0, toldPins);
  }

  /** Signs Evercert's own certificates, by the present generation. Errors: those of Authorities.issuer. */
  async issuer(): Promise<PreparedIssuer> {
    return await this.#authorities.issuer(this.record);
  }

  /** The generation by whose key a certificate is signed, whatever has become of it; undefined: none of this CA. */
  signerOf(certificate: Buffer): GenerationView | undefined {
    return signerOf(this.record, certificate);
  }

  /** Whether an identity of ours opens doors still: nodes and coordinators trust the generation that signed it. */
  trusts(record: Pick<CertificateRecord, 'issuerSerial'>): boolean {
    const generation = issuingGeneration(this.record, record);
    return generation !== undefined && this.standing(generation.serial) !== undefined;
  }

  /** What the signature of a generation, by its serial, is worth for a caller; undefined: nothing, it is retired or none of ours. */
  standing(serial: string): 'trusted' | 'compromised' | undefined {
    return this.#standings.get(serial);
  }

  /** What a coordinator presents behind its certificate, DER: with it, whoever trusts any root of this CA that is not compromised finds the way. */
  chainBehind(certificate: Buffer): Buffer[] {
    const signer = this.signerOf(certificate);
    return signer ? chainBehind(this.record, signer.generation, this.#clock.nowMs()) : [];
  }

  /** Calls back after each change; returns a function that ends it. */
  subscribe(listener: (record: AuthorityRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #take(): void {
    const known = this.#informer.get(layout.controlCa);
    if (!known) return;
    this.#known = known;
    this.#standings = standingsOf(known.record);
    for (const listener of this.#listeners) listener(known.record);
  }

  /** P-256: its handshakes are what a herd of agents costs. */
  async #create(): Promise<void> {
    const record = await this.#authorities.create(layout.controlScope, 'control-ca', 'ecdsa-p256');
    const key = layout.controlCa;
    const { succeeded, revision } = await this.#store.transact(
      [{ key, modRevision: 0 }],
      [{ type: 'put', key, value: encodeRecord(record) }],
    );
    if (succeeded) return this.accept(record, revision);
    await this.#authorities.destroyKeys([record.keyId]);
    const entry = await this.#store.get(key);
    if (!entry) throw new EvercertError('Conflict', 'the control CA was made and taken away again by somebody else: start again');
    this.#logger.info('another coordinator made the control CA at the same time; its is used', {});
    this.accept(decodeRecord<AuthorityRecord>(key, entry.value), entry.modRevision);
  }
}

/** What is retired opens no door. The next generation counts: another coordinator may have seen it become the present one a moment before this one. */
function standingsOf(record: AuthorityRecord): ReadonlyMap<string, 'trusted' | 'compromised'> {
  const accepted = generationsOf(record).filter(({ state }) => state !== 'retired');
  return new Map(accepted.map(({ generation, compromised }) => [generation.serial, compromised ? 'compromised' : 'trusted']));
}

/** Rotations are years apart: what is older is in no configuration any more. */
const toldPins = 16;

/** Told by the signature, not by what the certificate says of its issuer. */
export function signerOf(record: AuthorityRecord, certificate: Buffer): GenerationView | undefined {
  const signed = new X509Certificate(certificate);
  return generationsOf(record).find(({ generation }) => {
    const issuer = new X509Certificate(Buffer.from(generation.certificate, 'base64'));
    return signed.checkIssued(issuer) && signed.verify(issuer.publicKey);
  });
}

function pinOf(certificate: string): string {
  return publicKeyPin(Buffer.from(certificate, 'base64'));
}
