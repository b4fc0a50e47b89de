import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { drawFor, renewalDueMs } from '@evercert/shared/schedule';
import {
  generateKeyPair,
  issueLeaf,
  type LeafProfile,
  newSerial,
  type PreparedIssuer,
  parseCertificate,
  spkiDer,
} from '@evercert/shared/x509';
import type { EventDetails, EventRecorder } from '../events/recorder.ts';
import { coordinatorUri } from '../identity-uris.ts';

export interface OwnCertificateOptions {
  issuer: PreparedIssuer;
  clock: Clock;
  backdateMs: number;
}

export interface OwnCertificate {
  privateKey: KeyObject;
  /** DER. */
  certificate: Buffer;
  serial: string;
  issuedAtMs: number;
  notAfterMs: number;
}

/** Makes a fresh P-256 key and a certificate for it. */
export async function issueOwn(options: OwnCertificateOptions, profile: LeafProfile, lifetimeMs: number): Promise<OwnCertificate> {
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const issuedAtMs = options.clock.nowMs();
  const notAfterMs = Math.min(issuedAtMs + lifetimeMs, options.issuer.notAfter.getTime());
  const serial = newSerial();
  const certificate = await issueLeaf(options.issuer, {
    spki: spkiDer(privateKey),
    keyAlgorithm: 'ecdsa-p256',
    profile,
    serial,
    notBefore: new Date(issuedAtMs - options.backdateMs),
    notAfter: new Date(notAfterMs),
  });
  return { privateKey, certificate, serial, issuedAtMs, notAfterMs };
}

export function serverProfile(names: readonly string[]): LeafProfile {
  return {
    commonName: 'evercert-coordinator',
    organizations: [],
    dnsNames: names.filter((name) => isIP(name) === 0),
    ipAddresses: names.filter((name) => isIP(name) !== 0),
    uris: [coordinatorUri],
    usages: ['digital signature', 'server auth'],
  };
}

/** For the audit log. */
export function ownDetails(what: string, { certificate }: Pick<OwnCertificate, 'certificate'>): EventDetails {
  const { notBefore, notAfter, spkiSha256 } = parseCertificate(certificate);
  return { what, issuer: 'control-ca', publicKeySha256: spkiSha256, notBefore: notBefore.toISOString(), notAfter: notAfter.toISOString() };
}

/** What is renewed with the coordinator's own hands: how to make it, and what to do with it. */
export interface Renewable {
  /** For the log: `server certificate`. */
  what: string;
  make(): Promise<OwnCertificate>;
  install(made: OwnCertificate): Promise<void> | void;
}

const retryMs = 5000;

/** Keeps one of the coordinator's own certificates alive: at two thirds of each life, and when another is asked for. */
export class OwnRenewal {
  readonly #renewable: Renewable;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: EventRecorder;
  #timer: Timer | undefined;
  #stopped = false;
  #renewing: Promise<void> | undefined;
  #again = false;

  constructor(renewable: Renewable, { clock, logger, events }: { clock: Clock; logger: Logger; events: EventRecorder }) {
    this.#renewable = renewable;
    this.#clock = clock;
    this.#logger = logger;
    this.#events = events;
  }

  /** Schedules the renewal of what is in use already. */
  follow({ serial, issuedAtMs, notAfterMs }: Pick<OwnCertificate, 'serial' | 'issuedAtMs' | 'notAfterMs'>): void {
    this.#arm(renewalDueMs({ issuedAtMs, notAfterMs, renewAt: 2 / 3, draw: drawFor(serial) }));
  }

  /** Renews without waiting for the time: the present one is by another CA than it should be, or has to be written anew. Never rejects; a failure is tried again. */
  async renewNow(): Promise<void> {
    this.#again = true;
    this.#renewing ??= this.#renewWhileAsked().finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #renewWhileAsked(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      this.#timer?.cancel();
      await this.#renew();
    }
  }

  #arm(atMs: number): void {
    if (!this.#stopped) this.#timer = this.#clock.at(atMs, () => void this.renewNow());
  }

  async #renew(): Promise<void> {
    const { what, make, install } = this.#renewable;
    try {
      const made = await make();
      await install(made);
      const until = new Date(made.notAfterMs).toISOString();
      this.#events.record({
        actor: 'coordinator',
        reason: 'OwnCertificateRenewed',
        serial: made.serial,
        message: `renewed the ${what} until ${until}`,
        details: ownDetails(what, made),
      });
      this.follow(made);
    } catch (error) {
      this.#logger.error("cannot renew one of the coordinator's own certificates", { what, error: String(error) });
      this.#arm(this.#clock.nowMs() + retryMs);
    }
  }
}
