import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import {
  createOcspError,
  createOcspResponse,
  isIssuerOf,
  type OcspAnswer,
  type OcspCertId,
  type OcspRequest,
  type OcspStatus,
  type ocspErrors,
  parseOcspRequest,
} from '@evercert/shared/x509';
import { issuingGeneration, liveGenerations } from '../ca/generations.ts';
import type { Admission } from '../issuance/admission.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityGeneration, type AuthorityRecord, type CertificateRecord, decodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { OcspSigner, OcspSigners } from './ocsp-signers.ts';
import type { AuthoritySource, RevocationSource } from './source.ts';

export interface OcspResponderOptions {
  store: Store;
  model: AuthoritySource;
  revocations: RevocationSource;
  signers: OcspSigners;
  /** Bounds what is signed at once, and what waits for it. */
  admission: Admission;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  /** From an answer's making to its nextUpdate. */
  lifetimeMs: number;
}

export interface OcspReply {
  der: Buffer;
  /** Until when it may be handed out again; undefined: it is for this one question. */
  freshUntilMs?: number;
}

/** Answers that are kept; beyond, the oldest goes. */
const maxCached = 10_000;

/** Answers OCSP requests (RFC 6960) about the certificates of the clusters' CAs. Answers are signed anew when what they say changes, and at half of their life. */
export class OcspResponder {
  readonly #options: OcspResponderOptions;
  readonly #cache = new Map<string, Required<OcspReply>>();
  /** Grows with each change of a cluster's revocations: what was asked before it is not kept after it. */
  readonly #changes = new Map<string, number>();

  constructor(options: OcspResponderOptions) {
    this.#options = options;
    options.revocations.subscribe((cluster) => this.#forget(cluster));
    options.model.authorities.subscribe(({ key }) => {
      const [cluster = '', issuer = ''] = key.slice(layout.authorities.length).split('/');
      const authority = options.model.authorities.get(key)?.record;
      const serials = authority ? liveGenerations(authority, options.clock.nowMs()).map(({ serial }) => serial) : [];
      options.signers.keepOnly(cluster, issuer, new Set(serials));
      this.#forget(cluster);
    });
  }

  /** Always has an answer: what cannot be read, is not of this CA or comes at a bad time is told by RFC 6960's own errors. Undefined: there is no such CA. */
  async reply(cluster: string, issuer: string, requestDer: Uint8Array): Promise<OcspReply | undefined> {
    const { model, logger } = this.#options;
    const authority = model.authorities.get(layout.authority(cluster, issuer))?.record;
    if (!authority) return undefined;
    try {
      return await this.#answer(authority, parseOcspRequest(requestDer));
    } catch (error) {
      const name = errorName(error);
      if (name === 'internalError') logger.error('cannot answer an OCSP request', { cluster, issuer, error: describeError(error) });
      return { der: createOcspError(name) };
    }
  }

  async #answer(authority: AuthorityRecord, request: OcspRequest): Promise<OcspReply> {
    const { signers, clock, admission } = this.#options;
    const { cluster, name: issuer } = authority;
    const generation = this.#asked(authority, request);
    if (!generation) return { der: createOcspError('unauthorized') };
    const caDer = Buffer.from(generation.certificate, 'base64');
    const ours = request.certificates.map((certificate) => isIssuerOf(caDer, certificate));
    const [first] = request.certificates as [OcspCertId];
    const key = request.certificates.length === 1 && request.nonce === undefined ? cacheKey(cluster, issuer, first) : undefined;
    const cached = key && this.#cache.get(key);
    if (cached && clock.nowMs() < cached.freshUntilMs) return cached;
    return await admission.run(async () => {
      const change = this.#changes.get(cluster);
      const signer = await signers.of({ cluster, name: issuer, ...generation });
      const answers = await Promise.all(
        request.certificates.map(async (certificate, index): Promise<OcspAnswer> => {
          return { certificate, status: ours[index] ? await this.#statusOf(authority, generation, certificate.serial) : 'unknown' };
        }),
      );
      const made = await this.#sign(signer, answers, request.nonce);
      if (key === undefined) return { der: made.der };
      // What is unknown now may be issued in a moment, and whoever asks for made-up serials must not fill the memory.
      const keep = answers[0]?.status !== 'unknown' && this.#changes.get(cluster) === change;
      if (keep) this.#keep(key, made);
      return keep ? made : { der: made.der };
    });
  }

  /** By whose key the questioner says that the certificates are signed; one answer has one signer, so that the first question decides. */
  #asked(authority: AuthorityRecord, { certificates }: OcspRequest): AuthorityGeneration | undefined {
    const live = liveGenerations(authority, this.#options.clock.nowMs()).map((generation) => {
      return { generation, der: Buffer.from(generation.certificate, 'base64') };
    });
    for (const certificate of certificates) {
      const found = live.find(({ der }) => isIssuerOf(der, certificate));
      if (found) return found.generation;
    }
    return undefined;
  }

  /** A serial of another CA of the cluster, or of another key of this one, is none of this key's. */
  async #statusOf(authority: AuthorityRecord, generation: AuthorityGeneration, serial: string): Promise<OcspStatus> {
    const { store, revocations } = this.#options;
    const { cluster, name: issuer } = authority;
    const key = layout.certificate(cluster, serial);
    const found = await store.get(key);
    const record = found && decodeRecord<CertificateRecord>(key, found.value);
    if (record?.issuer !== issuer || issuingGeneration(authority, record)?.serial !== generation.serial) return 'unknown';
    const status = await revocations.statusOf(cluster, serial);
    if (typeof status === 'string') return status;
    return { revokedAt: new Date(status.revokedAtMs), reason: status.reason };
  }

  async #sign({ signer, chain, notAfterMs }: OcspSigner, answers: OcspAnswer[], nonce: Buffer | undefined): Promise<Required<OcspReply>> {
    const { clock, backdateMs, lifetimeMs } = this.#options;
    const nowMs = clock.nowMs();
    const nextUpdateMs = Math.min(nowMs + lifetimeMs, notAfterMs);
    const der = await createOcspResponse({
      signer,
      signerChain: chain,
      answers,
      producedAt: new Date(nowMs),
      thisUpdate: new Date(nowMs - backdateMs),
      nextUpdate: new Date(nextUpdateMs),
      nonce,
    });
    return { der, freshUntilMs: nowMs + (nextUpdateMs - nowMs) / 2 };
  }

  #keep(key: string, reply: Required<OcspReply>): void {
    this.#cache.delete(key);
    this.#cache.set(key, reply);
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > maxCached && oldest !== undefined) this.#cache.delete(oldest);
  }

  #forget(cluster: string): void {
    this.#changes.set(cluster, (this.#changes.get(cluster) ?? 0) + 1);
    for (const key of this.#cache.keys()) if (key.startsWith(`${cluster}/`)) this.#cache.delete(key);
  }
}

function cacheKey(cluster: string, issuer: string, { encoded }: OcspCertId): string {
  return `${cluster}/${issuer}/${encoded.toString('base64')}`;
}

function errorName(error: unknown): keyof typeof ocspErrors {
  if (!(error instanceof EvercertError)) return 'internalError';
  if (error.code === 'InvalidArgument') return 'malformedRequest';
  return error.retryable ? 'tryLater' : 'internalError';
}
