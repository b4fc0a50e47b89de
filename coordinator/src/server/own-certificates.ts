import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { createHotSwapServerCredentials } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import type { ServerCredentials } from '@grpc/grpc-js';
import type { CoordinatorConfig } from '../config.ts';
import type { Parts } from '../parts.ts';
import { AdminCredential, adminProfile } from './admin-credential.ts';
import { issueOwn, OwnRenewal, serverIdentity, serverProfile, swapServerIdentity } from './own-identity.ts';

export interface OwnCertificatesOptions {
  config: CoordinatorConfig;
  clock: Clock;
  logger: Logger;
  parts: Pick<Parts, 'authorities' | 'controlCa' | 'controlAnchors' | 'events' | 'backdateMs'>;
}

export interface OwnCertificates {
  credentials: ServerCredentials;
  /** Makes the local admin's credential at the first start, and keeps it alive. */
  keepAdminCredential(address: string): Promise<void>;
  stop(): void;
}

/** The coordinator's own certificate, and the local admin's: issued here, and renewed for as long as it runs. */
export async function startOwnCertificates({ config, clock, logger, parts }: OwnCertificatesOptions): Promise<OwnCertificates> {
  const { authorities, controlCa, events, backdateMs } = parts;
  const [controlDer = Buffer.alloc(0)] = parts.controlAnchors();
  const own = {
    issuer: await authorities.issuer(controlCa),
    controlCa: controlDer,
    controlCaNotAfterMs: controlCa.notAfterMs,
    clock,
    backdateMs,
  };
  const makeServer = () => issueOwn(own, serverProfile(config.serverNames), config.serverCertificateLifetime * 1000);
  const first = await makeServer();
  const credentials = createHotSwapServerCredentials(serverIdentity(first, controlDer));
  const renewalParts = { clock, logger, events };
  const serverRenewal = new OwnRenewal(
    { what: 'server certificate', make: makeServer, install: swapServerIdentity(credentials, controlDer) },
    renewalParts,
  );
  serverRenewal.follow(first);
  let adminRenewal: OwnRenewal | undefined;
  return {
    credentials: credentials.credentials,
    async keepAdminCredential(address) {
      adminRenewal = await keepAdminCredential(config, { own, address, parts: renewalParts });
    },
    stop() {
      serverRenewal.stop();
      adminRenewal?.stop();
    },
  };
}

interface AdminParts {
  own: Parameters<typeof issueOwn>[0];
  address: string;
  parts: ConstructorParameters<typeof OwnRenewal>[1];
}

async function keepAdminCredential(config: CoordinatorConfig, { own, address, parts }: AdminParts): Promise<OwnRenewal> {
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const credential = new AdminCredential({ dataDir: config.dataDir, controlCa: own.controlCa, address });
  const make = () => issueOwn(own, adminProfile('admin'), config.adminCertificateLifetime * 1000);
  const renewal = new OwnRenewal({ what: 'local admin credential', make, install: (made) => credential.install(made) }, parts);
  const current = await credential.current(own.clock.nowMs());
  if (current) {
    renewal.follow({ ...current, issuedAtMs: current.notBeforeMs + own.backdateMs });
    return renewal;
  }
  const made = await make();
  await credential.install(made);
  parts.events.record({
    actor: 'coordinator',
    reason: 'AdminCredentialCreated',
    serial: made.serial,
    message: `wrote an admin credential to ${join(config.dataDir, 'admin')}`,
  });
  renewal.follow(made);
  return renewal;
}
