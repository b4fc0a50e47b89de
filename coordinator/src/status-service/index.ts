import type { Clock } from '@evercert/shared/clock';
import { formatHostPort } from '@evercert/shared/config';
import type { Logger } from '@evercert/shared/logging';
import type { Authorities } from '../ca/authorities.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { Admission } from '../issuance/admission.ts';
import type { Model } from '../state/model.ts';
import type { Store } from '../store/index.ts';
import { statusHandler } from './handler.ts';
import { type BoundedServer, startHttpServer } from './http-server.ts';
import { OcspResponder } from './ocsp-responder.ts';
import { OcspSigners } from './ocsp-signers.ts';
import { RevocationLists } from './revocation-lists.ts';
import type { RevocationSource } from './source.ts';

export type { CurrentCrl, RevocationLists } from './revocation-lists.ts';

export interface StatusServiceOptions {
  store: Store;
  model: Model;
  authorities: Authorities;
  revocations: RevocationSource;
  events: EventRecorder;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  crlLifetimeMs: number;
  ocspLifetimeMs: number;
  ocspSignerLifetimeMs: number;
}

/** OCSP answers that are signed at once, and that wait for it. */
const ocspAdmission = { concurrency: 8, queue: 512 };

/** Tells which certificates are revoked: a CRL and an OCSP responder per CA, over plain HTTP, for anybody (RFC 5280, RFC 6960). Both are signed, so HTTP is enough. */
export class StatusService {
  readonly lists: RevocationLists;
  readonly #options: StatusServiceOptions;
  readonly #responder: OcspResponder;
  #server: BoundedServer | undefined;

  constructor(options: StatusServiceOptions) {
    this.#options = options;
    const { crlLifetimeMs, ocspLifetimeMs, ocspSignerLifetimeMs, ...parts } = options;
    this.lists = new RevocationLists({ ...parts, lifetimeMs: crlLifetimeMs });
    const signers = new OcspSigners({ ...parts, lifetimeMs: ocspSignerLifetimeMs });
    this.#responder = new OcspResponder({ ...parts, signers, admission: new Admission(ocspAdmission), lifetimeMs: ocspLifetimeMs });
  }

  /** Begins to answer. Returns the `HOST:PORT` that it really listens on. Unavailable: it cannot listen there. */
  async listen(address: { host: string; port: number }): Promise<string> {
    const { model, clock, logger } = this.#options;
    const handler = statusHandler({ model, clock, lists: this.lists, responder: this.#responder });
    this.#server = await startHttpServer(address, handler, { clock, logger });
    return formatHostPort(address.host, this.#server.port);
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    await this.lists.stop();
  }
}
