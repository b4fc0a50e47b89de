/** What it costs to decide whether a renewal is refused, by the number of entries: a question of the API server's certificate, which matches none of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { entryRecord, type MatchedCertificate, type RevocationQuestion, Revocations } from '@evercert/coordinator/revocation';
import { openSqliteStore } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { manifestLimits, type RevocationEntry } from '@evercert/shared/manifest';
import { median } from './cpu.ts';

export interface RevocationResult {
  entries: number;
  /** Nanoseconds of one decision: the certificate in use and what would be issued. Median of the rounds. */
  decisionNs: number;
  /** Milliseconds in which the index was built, all objects together. */
  buildMs: number;
}

const certificate: MatchedCertificate = {
  cluster: 'bench',
  serial: '77fdf4b1033b387aaace6ce1c18710c2',
  commonName: 'kube-apiserver',
  organizations: ['system:masters'],
  dnsNames: [
    'cp-1',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'api.example.com',
  ],
  ipAddresses: ['10.96.0.1', '192.0.2.11', 'fd00::11'],
  uris: [],
  issuedAtMs: Date.UTC(2026, 0, 1),
};

/** Entries of all kinds in turn, none of which matches. */
function entryOf(n: number): RevocationEntry {
  const base = { description: '', reason: 'unspecified' as const };
  switch (n % 5) {
    case 0:
      return { ...base, kind: 'SerialNumber', serialNumber: (0x10000000 + n).toString(16), includeSuccessors: false };
    case 1:
      return { ...base, kind: 'Group', group: `team-${n}` };
    case 2:
      return { ...base, kind: 'DNS', dns: `host-${n}.example.org` };
    case 3:
      return { ...base, kind: 'DNS', dns: `.zone-${n}.cluster.local` };
    default:
      return { ...base, kind: 'IP', ip: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` };
  }
}

export async function benchRevocation(
  entries: number,
  { rounds, perRound }: { rounds: number; perRound: number },
): Promise<RevocationResult> {
  const folder = await mkdtemp(join(tmpdir(), 'evercert-bench-'));
  const store = await openSqliteStore({ file: join(folder, 'store.db'), clock: systemClock, logger: silentLogger });
  try {
    const revocations = new Revocations({ store, logger: silentLogger, clock: systemClock });
    const start = systemClock.monotonicMs();
    fill(revocations, entries);
    const buildMs = systemClock.monotonicMs() - start;
    const question = {
      cluster: 'bench',
      current: certificate,
      profile: certificate,
      nowMs: certificate.issuedAtMs + 1,
      ignoreCurrent: false,
    };
    measure(revocations, question, perRound);
    const decisionNs = median(Array.from({ length: rounds }, () => measure(revocations, question, perRound)));
    return { entries: revocations.entries('bench'), decisionNs, buildMs };
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function fill(revocations: Revocations, entries: number): void {
  const perObject = manifestLimits.revocationEntries;
  for (let from = 0; from < entries; from += perObject) {
    const count = Math.min(perObject, entries - from);
    const name = `object-${from / perObject}`;
    const record = {
      cluster: 'bench',
      name,
      namespace: '',
      apiVersion: 'evercert.io/v1' as const,
      description: '',
      entries: Array.from({ length: count }, (_, index) => entryRecord(entryOf(from + index), [], 0)),
      generation: 1,
      createdAtMs: 0,
      updatedAtMs: 0,
      source: 'bench',
      yaml: '',
    };
    revocations.objects.accept(`/evercert/v1/revocations/bench/${name}`, record, from + 1);
  }
}

function measure(revocations: Revocations, question: RevocationQuestion, count: number): number {
  const start = process.hrtime.bigint();
  for (let n = 0; n < count; n++) if (revocations.find(question)) throw new Error('an entry matches that should not');
  return Number(process.hrtime.bigint() - start) / count;
}
