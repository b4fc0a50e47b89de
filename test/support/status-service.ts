/** CRLs and OCSP without a coordinator around them: real CAs, a real store, revocations and time as the test wants them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema } from '@evercert/coordinator';
import { activated, spread, withNext } from '@evercert/coordinator/ca';
import {
  type RevocationSource,
  type StatusService,
  type StatusServiceParts,
  startStatusService,
} from '@evercert/coordinator/status-service';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { RevocationReason } from '@evercert/shared/revocation';
import { type CrlInfo, newSerial, parseCertificate, parseCrl } from '@evercert/shared/x509';
import { type Ca, makeCa, startMs } from '../unit/shared/x509/fixtures.ts';

type Authority = NonNullable<ReturnType<StatusServiceParts['model']['authorities']['get']>>['record'];
type AuthorityChange = Parameters<Parameters<StatusServiceParts['model']['authorities']['subscribe']>[0]>[0];
type Revoked = Awaited<ReturnType<RevocationSource['revokedOf']>>[number];

export const statusCluster = 'demo';
const authorityKey = (issuer: string): string => `/evercert/v1/cas/${statusCluster}/${issuer}`;

/** The clusters' CAs and what is revoked of them. */
export class StatusWorld implements RevocationSource {
  readonly folder = mkdtempSync(join(tmpdir(), 'evercert-status-'));
  readonly clock = new FakeClock(startMs);
  readonly cas = new Map<string, { ca: Ca; record: Authority; modRevision: number }>();
  /** Of all generations, by the serial of the CA's certificate. */
  readonly keys = new Map<string, Ca>();
  readonly revoked: (Revoked & { issuer: string })[] = [];
  readonly events: string[] = [];
  /** Thrown by whatever asks for a CA's signer. */
  signing: Error | undefined;
  refused = 0;
  /** Questions about single certificates. */
  asked = 0;
  store!: Store;
  readonly #issuers = new Map<string, string>();
  readonly #changed = new Set<(cluster: string) => void>();
  readonly #authorityChanged = new Set<(change: AuthorityChange) => void>();
  readonly #services: StatusService[] = [];

  async open(...issuers: string[]): Promise<void> {
    this.store = await openSqliteStore({ file: join(this.folder, 'store.db'), clock: systemClock, logger: silentLogger });
    for (const issuer of issuers) await this.addCa(issuer);
  }

  async dispose(): Promise<void> {
    for (const service of this.#services) await service.stop();
    await this.store.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async service(config: Record<string, unknown> = {}, store = this.store): Promise<StatusService> {
    const parsed = configSchema.parse({ serverNames: ['localhost'], web: { enabled: false }, crl: { lifetime: '24h' }, ...config });
    const { clock } = this;
    const authorities = {
      get: (key: string) => [...this.cas.values()].find(({ record }) => authorityKey(record.name) === key),
      list: () => [...this.cas.values()].map(({ record }) => record),
      subscribe: (listener: (change: AuthorityChange) => void) => {
        this.#authorityChanged.add(listener);
        return () => this.#authorityChanged.delete(listener);
      },
    };
    const service = await startStatusService({
      config: parsed,
      store,
      model: { authorities },
      authorities: {
        issuer: async ({ serial }) => {
          if (this.signing) {
            this.refused += 1;
            throw this.signing;
          }
          return this.keys.get(serial)!.issuer;
        },
      },
      revocations: this,
      events: { record: ({ reason }) => void this.events.push(reason) },
      clock,
      logger: silentLogger,
    });
    this.#services.push(service);
    return service;
  }

  async addCa(issuer: string): Promise<void> {
    const ca = await makeCa(issuer, newSerial().slice(0, 8));
    const { serial, notBefore, notAfter } = parseCertificate(ca.der);
    const certificate = ca.der.toString('base64');
    const record: Authority = {
      cluster: statusCluster,
      name: issuer,
      keyId: `${statusCluster}/${issuer}/1`,
      keyAlgorithm: 'ecdsa-p384',
      serial,
      certificate,
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
      bundle: [certificate],
      bundleVersion: 1,
    };
    this.keys.set(serial, ca);
    await this.#put(ca, record);
  }

  /** The CA has another key from now on. */
  async rotate(issuer: string, lastLeafNotAfterMs: number): Promise<void> {
    const { record } = this.cas.get(issuer)!;
    const ca = await makeCa(issuer, newSerial().slice(0, 8));
    const { serial, notBefore, notAfter } = parseCertificate(ca.der);
    const times = { notBeforeMs: notBefore.getTime(), notAfterMs: notAfter.getTime() };
    const own = { keyId: `${statusCluster}/${issuer}/${serial}`, keyAlgorithm: 'ecdsa-p384' as const };
    const next = { ...own, serial, certificate: ca.der.toString('base64'), ...times };
    this.keys.set(serial, ca);
    await this.#put(ca, activated(spread(withNext(record, next)), { nowMs: this.clock.nowMs(), lastLeafNotAfterMs }));
  }

  async #put(ca: Ca, record: Authority): Promise<void> {
    const key = authorityKey(record.name);
    const { revision } = await this.store.transact([], [{ type: 'put', key, value: Buffer.from('{}') }]);
    this.cas.set(record.name, { ca, record, modRevision: revision });
    for (const listener of this.#authorityChanged) listener({ type: 'put', key, record });
  }

  async removeCa(issuer: string): Promise<void> {
    const key = authorityKey(issuer);
    const { record } = this.cas.get(issuer)!;
    await this.store.transact([], [{ type: 'delete', key }]);
    this.cas.delete(issuer);
    for (const listener of this.#authorityChanged) listener({ type: 'delete', key, previous: record });
  }

  /** A record of an issued certificate, as the coordinator keeps it. */
  async issued(issuer: string, notAfterMs = this.clock.nowMs() + 96 * 3_600_000): Promise<string> {
    const serial = newSerial();
    const issuerSerial = this.cas.get(issuer)?.record.serial;
    const value = Buffer.from(JSON.stringify({ v: 1, serial, issuer, issuerSerial, notAfterMs }));
    if (issuerSerial !== undefined) this.#issuers.set(serial, issuerSerial);
    await this.store.transact([], [{ type: 'put', key: `/evercert/v1/certificates/${statusCluster}/${serial}`, value }]);
    return serial;
  }

  revoke(
    issuer: string,
    serial: string,
    reason: RevocationReason = 'keyCompromise',
    notAfterMs = this.clock.nowMs() + 96 * 3_600_000,
  ): void {
    const issuerSerial = this.#issuers.get(serial);
    this.revoked.push({ issuer, serial, issuerSerial, reason, revokedAtMs: this.clock.nowMs(), notAfterMs });
    this.announce();
  }

  announce(): void {
    for (const listener of this.#changed) listener(statusCluster);
  }

  async revokedOf(_cluster: string, issuer: string): Promise<Revoked[]> {
    return this.revoked.filter((each) => each.issuer === issuer && each.notAfterMs > this.clock.nowMs());
  }

  async statusOf(_cluster: string, serial: string): ReturnType<RevocationSource['statusOf']> {
    this.asked += 1;
    return this.revoked.find((each) => each.serial === serial) ?? 'good';
  }

  subscribe(listener: (cluster: string) => void): void {
    this.#changed.add(listener);
  }
}

/** Signing and storing take real time, whatever the test's clock says. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = systemClock.monotonicMs() + 5000;
  while (!(await condition())) {
    if (systemClock.monotonicMs() > end) throw new Error(`waited in vain: ${what}`);
    await systemClock.sleep(5);
  }
}

/** The list that is served; throws while there is none. */
export function served(service: StatusService, issuer = 'etcd-ca'): CrlInfo {
  const crl = service.lists.get(statusCluster, issuer);
  if (!crl) throw new Error(`there is no CRL of ${issuer}`);
  return parseCrl(crl.der);
}
