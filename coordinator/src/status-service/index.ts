import type { Clock } from '@evercert/shared/clock';
import { formatHostPort, parseHostPort } from '@evercert/shared/config';
import type { Logger } from '@evercert/shared/logging';
import type { Authorities } from '../ca/authorities.ts';
import type { CoordinatorConfig } from '../config.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { Admission } from '../issuance/admission.ts';
import type { Store } from '../store/index.ts';
import { statusHandler } from './handler.ts';
import { startHttpServer } from './http-server.ts';
import { OcspResponder } from './ocsp-responder.ts';
import { OcspSigners } from './ocsp-signers.ts';
import { RevocationLists } from './revocation-lists.ts';
import type { AuthoritySource, RevocationSource } from './source.ts';

export type { CurrentCrl, FileCrls, RevocationLists } from './revocation-lists.ts';
export type { AuthoritySource, RevocationSource } from './source.ts';

export interface StatusServiceParts {
  config: Pick<CoordinatorConfig, 'web' | 'crl' | 'ocsp' | 'backdate' | 'serverNames'>;
  store: Store;
  model: AuthoritySource;
  authorities: Pick<Authorities, 'issuer'>;
  revocations: RevocationSource;
  events: Pick<EventRecorder, 'record'>;
  clock: Clock;
  logger: Logger;
}

export interface StatusService {
  readonly lists: RevocationLists;
  /** `HOST:PORT` that it really listens on; undefined: it is not enabled. */
  readonly address: string | undefined;
  /** Base of the URLs in certificates; undefined: there are none to put in. */
  readonly url: string | undefined;
  stop(): Promise<void>;
}

/** OCSP answers that are signed at once, and that wait for it. */
const ocspAdmission = { concurrency: 8, queue: 512 };

/**
 * Tells which certificates are revoked: a CRL and an OCSP responder per CA, over plain HTTP, for anybody. All of it is signed, so that HTTP is enough (RFC 5280 section 8). The lists
 * are kept also where nothing listens: agents install them. Unavailable: it cannot listen where it should.
 */
export async function startStatusService({ config, ...parts }: StatusServiceParts): Promise<StatusService> {
  const { web, crl, ocsp } = config;
  const { model, clock, logger } = parts;
  const common = { ...parts, backdateMs: config.backdate * 1000 };
  const lists = new RevocationLists({ ...common, lifetimeMs: crl.lifetime * 1000 });
  await lists.start();
  if (!web.enabled) return { lists, address: undefined, url: web.url, stop: () => lists.stop() };
  const signers = new OcspSigners({ ...common, lifetimeMs: ocsp.signerLifetime * 1000 });
  const responder = new OcspResponder({ ...common, signers, admission: new Admission(ocspAdmission), lifetimeMs: ocsp.lifetime * 1000 });
  const { host = '0.0.0.0', port: wanted = 7480 } = parseHostPort(web.listen) ?? {};
  const server = await startHttpServer({ host, port: wanted }, statusHandler({ model, clock, lists, responder }), { clock, logger });
  const url = web.url ?? `http://${formatHostPort(config.serverNames[0] ?? 'localhost', server.port)}`;
  const address = formatHostPort(host, server.port);
  logger.info('serving CRL and OCSP', { listen: address, url });
  const stop = async (): Promise<void> => {
    await server.close();
    await lists.stop();
  };
  return { lists, address, url, stop };
}
