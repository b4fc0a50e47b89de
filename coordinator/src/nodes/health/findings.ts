import { failureOf, isOutdated, isUnreachable, scheduleOf, troubleOf } from './certificates.ts';
import type { Finding, Findings, HealthFacts } from './types.ts';

/** Messages of one condition that are told; the others are counted. */
const maxTold = 5;
/** Characters of each: an agent's words are kept with the node's health and its events. */
const maxMessage = 300;

/** The worst reason names the condition. */
const validityOrder = ['Expired', 'UnknownCertificate', 'StaleCertificate', 'NotInPlace', 'NotIssued'];
const renewalOrder = [
  'IdentityRevoked',
  'Revoked',
  'RenewalFailing',
  'IssueFailing',
  'ManifestUnresolved',
  'IdentityExpired',
  'RenewalOverdue',
];

const servingOrder = ['OtherCertificateServed', 'OtherAuthoritiesAccepted', 'ComponentUnhealthy', 'ComponentUnreachable'];

interface Complaint {
  reason: string;
  message: string;
}

/** Every condition as it is now: a function of the facts alone. */
export function findingsOf(facts: HealthFacts): Findings {
  const reachable = reachability(facts);
  const aspects = {
    CertificatesValid: certificatesValid(facts),
    RenewalsSucceeding: renewalsSucceeding(facts),
    ComponentsServing: componentsServing(facts),
    TrustBundleCurrent: trustBundleCurrent(facts),
  };
  const ready = replacement(facts) ?? readiness(facts, { Reachable: reachable, ...aspects });
  return { Ready: ready, Reachable: reachable, ...aspects };
}

function reachability(facts: HealthFacts): Finding {
  if (facts.removed) return unknown('NodeRemoved', 'the node was deleted');
  if (!facts.joined) return unknown('NotJoined', 'the node has not joined yet');
  if (facts.silentMs === undefined) return unknown('NeverSeen', 'the agent has not reported yet');
  if (!isUnreachable(facts)) return { status: 'True', reason: 'HeartbeatsArrive', message: 'its agent sends heartbeats' };
  const since = facts.lastSeenAtMs === undefined ? '' : ` since ${new Date(facts.lastSeenAtMs).toISOString()}`;
  return { status: 'False', reason: 'HeartbeatsMissing', message: `no heartbeat${since}` };
}

/** Why a node's reports say nothing of now; undefined: they do. */
function silence(facts: HealthFacts): Finding | undefined {
  if (facts.removed) return unknown('NodeRemoved', 'the node was deleted');
  if (!facts.joined) return unknown('NotJoined', 'the node has not joined yet');
  if (isUnreachable(facts)) return unknown('NodeUnreachable', 'nothing is heard of the node');
  if (!facts.reported) return unknown('NotReported', 'the agent has not reported yet');
  return undefined;
}

function certificatesValid(facts: HealthFacts): Finding {
  const outdated = isOutdated(facts);
  const troubles = facts.joined && !facts.removed ? facts.certificates.flatMap((one) => troubleOf(one, facts, outdated) ?? []) : [];
  const complaints = [
    ...troubles.map(({ trouble, message }) => ({ reason: trouble as string, message })),
    ...partsMissing(facts, 'key pair').map((message) => ({ reason: 'NotInPlace', message })),
  ];
  // That one has ended needs no word of the node.
  const expired = complaints.filter(({ reason }) => reason === 'Expired');
  const silent = silence(facts);
  if (silent) return expired.length > 0 ? worst(expired, validityOrder) : silent;
  return complaints.length > 0
    ? worst(complaints, validityOrder)
    : well('AllValid', `${facts.certificates.length} certificates are in place`);
}

function renewalsSucceeding(facts: HealthFacts): Finding {
  const silent = silence(facts);
  // What the coordinator itself refuses is known without a word of the node.
  const refused = refusals(facts);
  if (silent) return refused.length > 0 ? worst(refused, renewalOrder) : silent;
  const complaints = [...refused, ...failures(facts)];
  if (complaints.length > 0) return worst(complaints, renewalOrder);
  const late = overdue(facts);
  return late.length > 0 ? worst(late, renewalOrder) : well('NothingFails', 'no renewal fails');
}

function refusals({ joined, removed, identity, certificates }: HealthFacts): Complaint[] {
  if (!joined || removed) return [];
  const ofIdentity =
    identity.revokedBy === undefined
      ? []
      : [{ reason: 'IdentityRevoked', message: `its identity ${identity.serial} is refused by ${identity.revokedBy}` }];
  return [...ofIdentity, ...certificates.flatMap((one) => (one.revokedBy === undefined ? [] : (failureOf(one) ?? [])))];
}

function failures({ identity, certificates, problems, nowMs }: HealthFacts): Complaint[] {
  const expired = identity.notAfterMs > 0 && identity.notAfterMs <= nowMs;
  return [
    ...(expired ? [{ reason: 'IdentityExpired', message: `its identity ${identity.serial} has expired` }] : []),
    ...certificates.flatMap((one) => (one.revokedBy === undefined ? (failureOf(one) ?? []) : [])),
    ...problems.map((message) => ({ reason: 'ManifestUnresolved', message })),
  ];
}

function overdue(facts: HealthFacts): Complaint[] {
  const outdated = isOutdated(facts);
  return facts.certificates
    .filter((one) => (scheduleOf(one, outdated)?.overdueMs ?? Number.POSITIVE_INFINITY) <= facts.nowMs)
    .map(({ name }) => ({ reason: 'RenewalOverdue', message: `${name} was to be renewed and has not been` }));
}

function componentsServing(facts: HealthFacts): Finding {
  const silent = silence(facts);
  if (silent) return silent;
  const served = facts.certificates.filter(({ reported }) => reported?.served);
  const bundles = facts.parts.filter((part) => part.served);
  const complaints = [
    ...bundles.flatMap(({ name, served: seen, servedMessage }): Complaint[] => {
      const why = servedMessage ? `: ${servedMessage}` : '';
      if (seen === 'NotServed')
        return [{ reason: 'OtherAuthoritiesAccepted', message: `${name}: its component accepts clients of other CAs${why}` }];
      return seen === 'Unreachable' ? [{ reason: 'ComponentUnreachable', message: `${name}: its component does not answer${why}` }] : [];
    }),
    ...served.flatMap(({ name, reported }): Complaint[] => {
      if (reported?.served === 'NotServed')
        return [{ reason: 'OtherCertificateServed', message: `${name}: its component serves another certificate` }];
      return reported?.served === 'Unreachable'
        ? [{ reason: 'ComponentUnreachable', message: `${name}: its component does not answer` }]
        : [];
    }),
    ...facts.components
      .filter(({ state }) => state !== 'Healthy')
      .map(({ name, state, message }) => ({
        reason: 'ComponentUnhealthy',
        message: `${name} is ${state}${message ? `: ${message}` : ''}`,
      })),
  ];
  if (complaints.length > 0) return worst(complaints, servingOrder);
  const looked = served.length + bundles.length + facts.components.length;
  return looked > 0 ? well('AllServing', 'components serve what is in place') : well('NothingToSee', 'no component has been looked at');
}

function trustBundleCurrent(facts: HealthFacts): Finding {
  const silent = silence(facts);
  if (silent) return silent;
  const complaints = [
    ...partsMissing(facts, 'trust bundle').map((message) => ({ reason: 'BundleNotInPlace', message })),
    ...partsMissing(facts, 'revocation list').map((message) => ({ reason: 'RevocationListNotInPlace', message })),
  ];
  return complaints.length > 0
    ? worst(complaints, ['BundleNotInPlace', 'RevocationListNotInPlace'])
    : well('AllCurrent', 'trust bundles and revocation lists are in place');
}

/** Whatever is in place on it: the old node is on its way out, and the new one is not counted upon before the replacement is done. */
function replacement({ removed, replacing }: HealthFacts): Finding | undefined {
  if (removed || replacing === undefined) return undefined;
  return { status: 'False', reason: 'Replacing', message: `replacement ${replacing} is under way` };
}

/** Whether it holds all that it should, and nothing fails. What components do with it is told by a condition of its own. */
function readiness(
  facts: HealthFacts,
  { Reachable, CertificatesValid, RenewalsSucceeding, TrustBundleCurrent }: Omit<Findings, 'Ready'>,
): Finding {
  const bad = [CertificatesValid, RenewalsSucceeding, TrustBundleCurrent].filter(({ status }) => status === 'False');
  const message = [...new Set(bad.map((one) => one.message))].join('; ');
  if (bad.length > 0) return { status: 'False', reason: bad[0]?.reason ?? '', message };
  if (Reachable.status === 'True' && facts.reported) return well('AllInPlace', '');
  if (Reachable.status === 'False') return unknown('NodeUnreachable', Reachable.message);
  return silence(facts) ?? unknown('NotReported', 'the agent has not reported yet');
}

function partsMissing({ parts }: HealthFacts, kind: string): string[] {
  return parts
    .filter((part) => part.kind === kind && !part.inPlace)
    .map(({ name, error }) => `${kind} ${name} is not in place${error ? `: ${error}` : ''}`);
}

function worst(complaints: readonly Complaint[], order: readonly string[]): Finding {
  const rank = ({ reason }: Complaint): number => (order.includes(reason) ? order.indexOf(reason) : order.length);
  const sorted = complaints.toSorted((a, b) => rank(a) - rank(b));
  const told = sorted.slice(0, maxTold).map(({ message }) => message.slice(0, maxMessage));
  const more = sorted.length > maxTold ? `; and ${sorted.length - maxTold} more` : '';
  return { status: 'False', reason: sorted[0]?.reason ?? '', message: told.join('; ') + more };
}

function well(reason: string, message: string): Finding {
  return { status: 'True', reason, message };
}

function unknown(reason: string, message: string): Finding {
  return { status: 'Unknown', reason, message };
}
