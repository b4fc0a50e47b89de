import { version } from '@evercert/shared/version';
import type { CertificateSnapshot } from '../certificates/types.ts';
import type { ConnectionSnapshot } from '../connection/connection.ts';
import type { Report } from '../connection/convert.ts';
import type { IdentitySnapshot } from '../identity/supervisor.ts';
import type { AgentStatus, CertificateLine } from './types.ts';

export interface StatusSources {
  pid: number;
  startedAtMs: number;
  identity: IdentitySnapshot;
  connection: ConnectionSnapshot;
  report: Report;
  events: { waiting: number; dropped: number };
  controlTrust: AgentStatus['controlTrust'];
}

export function buildStatus({ pid, startedAtMs, identity, connection, report, events, controlTrust }: StatusSources): AgentStatus {
  const { notAfterMs, nextRenewalAtMs, ...identityRest } = identity;
  const { sinceMs, ...connectionRest } = connection;
  return {
    agent: { version, pid, startedAt: iso(startedAtMs) },
    identity: {
      ...identityRest,
      ...(notAfterMs !== undefined && { notAfter: iso(notAfterMs) }),
      ...(nextRenewalAtMs !== undefined && { nextRenewalAt: iso(nextRenewalAtMs) }),
    },
    connection: { ...connectionRest, since: iso(sinceMs) },
    desiredRevision: report.appliedRevision,
    certificates: report.certificates.map(certificateLine).sort((a, b) => (a.name < b.name ? -1 : 1)),
    bundles: report.bundles,
    revocationLists: report.revocationLists,
    keyPairs: report.keyPairs,
    components: report.components.map(({ checkedAtMs, ...rest }) => ({ ...rest, checkedAt: iso(checkedAtMs) })),
    events,
    controlTrust,
  };
}

function certificateLine(snapshot: CertificateSnapshot): CertificateLine {
  const { notBeforeMs, notAfterMs, nextRenewalAtMs, lastRenewalAtMs, ...rest } = snapshot;
  return {
    ...rest,
    ...(notBeforeMs !== undefined && { notBefore: iso(notBeforeMs) }),
    ...(notAfterMs !== undefined && { notAfter: iso(notAfterMs) }),
    ...(nextRenewalAtMs !== undefined && { nextRenewalAt: iso(nextRenewalAtMs) }),
    ...(lastRenewalAtMs !== undefined && { lastRenewalAt: iso(lastRenewalAtMs) }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
