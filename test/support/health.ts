import type { CertificateFacts, HealthFacts, PartFacts, ReportedCertificate } from '@evercert/coordinator';

export const now = Date.parse('2026-01-05T00:00:00Z');
export const hour = 3600_000;

/** A certificate of 96 hours in the middle of its life: due at 64 h, overdue at 72 h, expiring at 80 h. Null: the agent says nothing of it. */
export function certificate(
  name: string,
  reported: Partial<ReportedCertificate> | null = {},
  change: Partial<CertificateFacts> = {},
): CertificateFacts {
  const issuedAtMs = now - 48 * hour;
  const issued = { serial: `${name}-1`, issuedAtMs, notAfterMs: issuedAtMs + 96 * hour };
  return {
    name,
    renewAt: 2 / 3,
    issued,
    revokedBy: undefined,
    ...change,
    reported:
      reported === null
        ? undefined
        : {
            serial: issued.serial,
            notAfterMs: issued.notAfterMs,
            nextRenewalAtMs: issuedAtMs + 64 * hour,
            state: 'Ready',
            error: '',
            errorCode: '',
            served: '',
            origin: 'current',
            ...reported,
          },
  };
}

export function aged(name: string, ageHours: number, reported: Partial<ReportedCertificate> = {}): CertificateFacts {
  const issuedAtMs = now - ageHours * hour;
  const notAfterMs = issuedAtMs + 96 * hour;
  return certificate(
    name,
    { notAfterMs, nextRenewalAtMs: issuedAtMs + 64 * hour, ...reported },
    { issued: { serial: `${name}-1`, issuedAtMs, notAfterMs } },
  );
}

export function part(kind: PartFacts['kind'], inPlace = true, error = ''): PartFacts {
  return { kind, name: 'p', inPlace, error };
}

/** A worker with two certificates, all well. */
export function facts(change: Partial<HealthFacts> = {}): HealthFacts {
  return {
    role: 'worker',
    removed: false,
    joined: true,
    silentMs: 0,
    unreachableAfterMs: 40_000,
    lastSeenAtMs: now,
    reported: true,
    fresh: true,
    identity: { serial: 'id', notAfterMs: now + 10 * hour, revokedBy: undefined },
    certificates: [certificate('a'), certificate('b')],
    parts: [part('trust bundle'), part('revocation list'), part('key pair')],
    components: [],
    problems: [],
    repairing: false,
    replacing: undefined,
    nowMs: now,
    ...change,
  };
}
