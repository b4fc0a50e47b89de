import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import { createHotSwapServerCredentials, type HotSwapCredentials, type ServerIdentity } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import type { ServerCredentials } from '@grpc/grpc-js';
import type { ControlCa } from '../ca/control-ca.ts';
import type { CoordinatorConfig } from '../config.ts';
import { adminProfile } from '../enrollment/admin-certificates.ts';
import type { EventRecorder } from '../events/recorder.ts';
import type { AuthorityRecord } from '../state/records.ts';
import { AdminCredential } from './admin-credential.ts';
import { issueOwn, type OwnCertificate, OwnRenewal, ownDetails, serverProfile } from './own-identity.ts';

export interface OwnCertificatesOptions {
  config: Pick<CoordinatorConfig, 'dataDir' | 'serverNames' | 'serverCertificateLifetime' | 'adminCertificateLifetime'>;
  clock: Clock;
  logger: Logger;
  parts: { controlCa: ControlCa; events: EventRecorder; backdateMs: number };
}

export interface OwnCertificates {
  credentials: ServerCredentials;
  /** Makes the local admin's credential at the first start, and keeps it alive. */
  keepAdminCredential(address: string): Promise<void>;
  /** `HOST:PORT` of all coordinators that serve, for the local admin's context. */
  tellOthers(endpoints: readonly string[]): void;
  stop(): void;
}

/**
 * The coordinator's own certificate, and the local admin's: issued here, renewed for as long as it runs, and at once when the control CA has another key or other roots. Each
 * coordinator sees to its own.
 */
export async function startOwnCertificates(options: OwnCertificatesOptions): Promise<OwnCertificates> {
  const { logger, parts } = options;
  const { controlCa } = parts;
  // Before anything is made by it: what changes meanwhile is followed, too.
  let seen = controlCa.record;
  let admin: { credential: AdminCredential; renewal: OwnRenewal } | undefined;
  const server = await startServerCertificate(options);
  const follow = (record: AuthorityRecord): void => {
    const { rotated, trusted } = changesOf(seen, record);
    seen = record;
    try {
      server.present();
    } catch (error) {
      logger.error('the server certificate cannot be shown with the control CA as it is now; new connections see what they saw before', {
        error: String(error),
      });
    }
    if (rotated) void server.renewal.renewNow();
    // Its folder holds the roots, too.
    if (trusted) void admin?.renewal.renewNow();
  };
  const stopListening = controlCa.subscribe(follow);
  follow(controlCa.record);
  return {
    credentials: server.credentials.credentials,
    async keepAdminCredential(address) {
      const before = controlCa.record;
      admin = await keepAdminCredential(options, address);
      if (changesOf(before, controlCa.record).trusted) void admin.renewal.renewNow();
    },
    tellOthers(endpoints) {
      admin?.credential.tellOthers(endpoints).catch((error: unknown) => {
        logger.warn("the local admin's context does not name the other coordinators", { error: describeError(error) });
      });
    },
    stop() {
      stopListening();
      server.renewal.stop();
      admin?.renewal.stop();
    },
  };
}

/** Whether another key signs, and whether that or other roots ask for another credential. */
function changesOf(before: AuthorityRecord, after: AuthorityRecord): { rotated: boolean; trusted: boolean } {
  const rotated = after.serial !== before.serial;
  return { rotated, trusted: rotated || after.bundleVersion !== before.bundleVersion };
}

interface ServerCertificate {
  credentials: HotSwapCredentials;
  renewal: OwnRenewal;
  /** Shows new connections the certificate in use with what now belongs behind it, and takes clients of the roots that are trusted now. */
  present(): void;
}

async function startServerCertificate({ config, clock, logger, parts }: OwnCertificatesOptions): Promise<ServerCertificate> {
  const { controlCa, events, backdateMs } = parts;
  const make = async (): Promise<OwnCertificate> =>
    await issueOwn(
      { issuer: await controlCa.issuer(), clock, backdateMs },
      serverProfile(config.serverNames),
      config.serverCertificateLifetime * 1000,
    );
  let current = await make();
  const what = 'server certificate';
  events.record({
    actor: 'coordinator',
    reason: 'OwnCertificateIssued',
    serial: current.serial,
    message: `issued the ${what} until ${new Date(current.notAfterMs).toISOString()}`,
    details: ownDetails(what, current),
  });
  const identity = (): ServerIdentity => ({
    chain: [current.certificate, ...controlCa.chainBehind(current.certificate)],
    privateKey: current.privateKey,
    clientAnchors: controlCa.anchors(),
  });
  const credentials = createHotSwapServerCredentials(identity());
  const present = (): void => credentials.swap(identity());
  const install = (made: OwnCertificate): void => {
    current = made;
    present();
  };
  const renewal = new OwnRenewal({ what, make, install }, { clock, logger, events });
  renewal.follow(current);
  return { credentials, renewal, present };
}

async function keepAdminCredential(
  { config, clock, logger, parts }: OwnCertificatesOptions,
  address: string,
): Promise<{ credential: AdminCredential; renewal: OwnRenewal }> {
  const { controlCa, events, backdateMs } = parts;
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const credential = new AdminCredential({ dataDir: config.dataDir, controlCa, address });
  const make = async (): Promise<OwnCertificate> =>
    await issueOwn({ issuer: await controlCa.issuer(), clock, backdateMs }, adminProfile('admin'), config.adminCertificateLifetime * 1000);
  const install = (made: OwnCertificate): Promise<void> => credential.install(made);
  const renewal = new OwnRenewal({ what: 'local admin credential', make, install }, { clock, logger, events });
  const current = await credential.current(clock.nowMs());
  if (current) {
    renewal.follow({ ...current, issuedAtMs: current.notBeforeMs + backdateMs });
    return { credential, renewal };
  }
  const made = await make();
  await install(made);
  events.record({
    actor: 'coordinator',
    reason: 'AdminCredentialCreated',
    serial: made.serial,
    message: `wrote an admin credential to ${join(config.dataDir, 'admin')}`,
    details: ownDetails('local admin credential', made),
  });
  renewal.follow(made);
  return { credential, renewal };
}
