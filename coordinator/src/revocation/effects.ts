import type { RevocationMatch as ProtoMatch } from '@evercert/proto';
import type { DesiredStates } from '../desired/desired-states.ts';
import type { Model } from '../state/model.ts';
import type { RevocationRecord } from '../state/records.ts';
import { referenceOf } from './reference.ts';
import type { Revocations } from './revocations.ts';
import { RuleIndex } from './rule-index.ts';
import { subjectOfCertificate, subjectOfProfile } from './subject.ts';
import type { RevocationMatch } from './types.ts';

/** Bounds of one answer: entries told of one certificate, and lines in all. An answer of gRPC has 4 MiB. */
const limits = { ofOne: 10, inAll: 20_000 };

export interface EffectSources {
  model: Model;
  desired: DesiredStates;
  revocations: Revocations;
  nowMs: () => number;
}

/**
 * What objects match, in force or not yet: every certificate that has not expired, and (`future`) what would be issued now. Each line names one entry; a certificate
 * that several entries match has several lines, the farthest reaching first.
 */
export async function effectsOf(
  { model, desired, revocations, nowMs }: EffectSources,
  cluster: string,
  records: readonly RevocationRecord[],
): Promise<ProtoMatch[]> {
  const index = new RuleIndex();
  for (const record of records) index.add(record);
  const lines: ProtoMatch[] = [];
  const add = (node: string, certificate: string, serial: string, matches: RevocationMatch[]): void => {
    for (const match of matches.slice(0, limits.ofOne)) {
      if (lines.length < limits.inAll) lines.push({ node, certificate, serial, by: referenceOf(match), future: serial === '' });
    }
  };
  for await (const record of revocations.live(cluster, { always: true })) {
    add(record.node, record.name, record.serial, index.all(subjectOfCertificate(record), record.issuedAtMs));
  }
  for (const { name: node } of model.nodesOf(cluster)) {
    for (const profile of desired.plan(cluster, node)?.resolved.certificates ?? []) {
      add(node, profile.name, '', index.all(subjectOfProfile(profile), nowMs()));
    }
  }
  return lines.sort((a, b) => compare(a.node, b.node) || compare(a.certificate, b.certificate) || Number(a.future) - Number(b.future));
}

/** The effects of one object in force that no other object has too: what its deletion releases. */
export async function effectsOfDeletion(sources: EffectSources, record: RevocationRecord): Promise<ProtoMatch[]> {
  const { model, desired, revocations, nowMs } = sources;
  const { cluster } = record;
  const held = new Set<string>();
  const note = (key: string, matches: RevocationMatch[]): void => {
    if (matches.some(({ object }) => object !== record.name)) held.add(key);
  };
  for await (const certificate of revocations.live(cluster)) note(certificate.serial, revocations.matchIssued(certificate));
  for (const { name: node } of model.nodesOf(cluster)) {
    for (const profile of desired.plan(cluster, node)?.resolved.certificates ?? [])
      note(`${node}/${profile.name}`, revocations.matchProfile(cluster, profile, nowMs()));
  }
  const lines = await effectsOf(sources, cluster, [record]);
  return lines.filter(({ node, certificate, serial, future }) => !held.has(future ? `${node}/${certificate}` : serial));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
