import type { DesiredStates } from '../desired/desired-states.ts';
import { activeCordon } from '../nodes/cordons.ts';
import { endOf, failureOf, inPlaceByMs, isOutdated, isUnreachable, scheduleOf } from '../nodes/health/certificates.ts';
import type { CertificateFacts, HealthFacts, NodeHealth } from '../nodes/health/index.ts';
import type { RevocationMatch, Revocations } from '../revocation/index.ts';
import { describeMatch } from '../revocation/refusal.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { NodeRecord } from '../state/records.ts';
import type { ReplacementFacts } from './types.ts';

/** Part of an identity's life after which the agent renews it. */
const identityRenewAt = 2 / 3;
/** Entries that are named; a person who has dealt with these is told the next. */
const maxEntries = 3;
/** Characters of what an agent says, as it is kept with verdicts and events. */
const maxFailure = 300;

export interface ReplacementSources {
  model: Pick<Model, 'currents'>;
  health: Pick<NodeHealth, 'of' | 'factsOf'>;
  desired: Pick<DesiredStates, 'plan'>;
  revocations: Pick<Revocations, 'entries' | 'matchProfile'>;
  /** Step that a replacement is at; empty: not known. */
  stepOf: (cluster: string, id: string) => string;
  nowMs: () => number;
}

/** What replacement knows of a node now. */
export function replacementFactsOf(sources: ReplacementSources, node: NodeRecord): ReplacementFacts {
  const { model, health, stepOf, nowMs } = sources;
  const { cluster, name, role, labels, identitySerials, replacement } = node;
  const { phase, message } = health.of(node);
  // Most are: nothing more is asked of those.
  const facts = phase === 'Ready' ? undefined : health.factsOf(node);
  const identityIssuedAtMs = model.currents.get(layout.current(cluster, name, 'identity'))?.record.issuedAtMs;
  const expired = facts ? expiredOf(facts, identityIssuedAtMs) : [];
  const refusing = role === 'worker' && expired.length > 0 ? refusingSuccessor(sources, node) : [];
  const cordon = activeCordon(node, nowMs());
  return {
    name,
    role,
    labels,
    joined: identitySerials.length > 0,
    phase,
    phaseMessage: message,
    expired,
    failure: facts ? failure(facts, new Set(expired.map((one) => one.name))) : '',
    cordon: cordon && { by: cordon.by, reason: cordon.reason, ...(cordon.untilMs !== undefined && { untilMs: cordon.untilMs }) },
    repairing: facts?.repairing ?? false,
    refusedInFuture: entriesOf(refusing),
    refusedByAnyName: entriesOf(refusing.filter(isForAnyName)),
    replacing: replacement && { id: replacement.id, step: stepOf(cluster, replacement.id) },
  };
}

/**
 * Certificates that have expired in place, the identity included. Any one that is declared for the node counts, for a component of it needs each. What the node said last counts only as long as it
 * is not outdated: a newer certificate that was issued since may be in place on a node that cannot tell, and then nothing has expired. The same goes for one that was issued a moment ago.
 */
export function expiredOf(facts: HealthFacts, identityIssuedAtMs: number | undefined): ReplacementFacts['expired'] {
  if (facts.removed || !facts.joined) return [];
  const outdated = isOutdated(facts);
  const certificates = facts.certificates.flatMap((one) => expiredCertificate(one, facts.nowMs, outdated) ?? []);
  const { notAfterMs } = facts.identity;
  if (notAfterMs <= 0 || notAfterMs > facts.nowMs) return certificates;
  const dueMs = identityIssuedAtMs === undefined ? notAfterMs : identityIssuedAtMs + (notAfterMs - identityIssuedAtMs) * identityRenewAt;
  const issued = identityIssuedAtMs === undefined ? {} : { issuedAtMs: identityIssuedAtMs };
  return [{ name: 'identity', dueMs: Math.min(dueMs, notAfterMs), endMs: notAfterMs, ...issued }, ...certificates];
}

function expiredCertificate(
  certificate: CertificateFacts,
  nowMs: number,
  outdated: boolean,
): ReplacementFacts['expired'][number] | undefined {
  const endMs = endOf(certificate, outdated);
  // Whoever holds the key of what is only watched has to renew it: the worker is not to blame.
  if (endMs === undefined || endMs > nowMs || certificate.watchOnly) return undefined;
  const { name, issued } = certificate;
  const newer = issued !== undefined && issued.notAfterMs > endMs ? issued : undefined;
  // It is on its way into place, whether or not it has been looked up yet where the earlier one comes from.
  if (newer && newer.notAfterMs > nowMs && nowMs < inPlaceByMs(newer)) return undefined;
  const dueMs = scheduleOf(certificate, outdated)?.dueMs ?? endMs;
  // Of an earlier one, only the node knows when it was due; but when it was renewed, it was.
  const inPlace = issued && issued.notAfterMs === endMs ? { issuedAtMs: issued.issuedAtMs } : {};
  return { name, dueMs: newer ? Math.min(dueMs, newer.issuedAtMs) : dueMs, endMs, ...inPlace };
}

/** Why nothing was renewed, as far as anybody said: the coordinator's own refusal, then the agent's words, then its silence. */
function failure(facts: HealthFacts, expired: ReadonlySet<string>): string {
  if (!facts.joined || facts.removed) return '';
  const { identity, certificates, lastSeenAtMs } = facts;
  if (identity.revokedBy !== undefined) return `its identity is refused by ${identity.revokedBy}`;
  const failures = certificates
    .filter(({ name }) => expired.has(name))
    .flatMap((one) => failureOf(one)?.message ?? one.reported?.error ?? []);
  const told = failures.find((message) => message !== '');
  if (told !== undefined) return told.slice(0, maxFailure);
  if (!isUnreachable(facts)) return '';
  return lastSeenAtMs === undefined ? 'nothing is heard of it' : `nothing is heard of it since ${new Date(lastSeenAtMs).toISOString()}`;
}

/** Entries that would refuse what a new node under the same name is to have. Identities are matched by serial alone, so that no entry refuses a new one. */
function refusingSuccessor({ desired, revocations, nowMs }: ReplacementSources, { cluster, name }: NodeRecord): RevocationMatch[] {
  if (revocations.entries(cluster) === 0) return [];
  const profiles = desired.plan(cluster, name)?.resolved.certificates ?? [];
  return profiles.flatMap((profile) => revocations.matchProfile(cluster, profile, nowMs()));
}

/** A group, or every name below a domain: the next machine's certificates are the same in that. */
function isForAnyName({ kind, value }: RevocationMatch): boolean {
  return kind === 'Group' || (kind === 'DNS' && value.startsWith('.'));
}

function entriesOf(matches: readonly RevocationMatch[]): string {
  const entries = [...new Set(matches.map(describeMatch))];
  const more = entries.length > maxEntries ? ` and ${entries.length - maxEntries} more` : '';
  return entries.slice(0, maxEntries).join(', ') + more;
}
