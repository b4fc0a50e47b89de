/** What is wrong with the nodes of a cluster and what to do about it: pure functions over plain data. */
import { describeMatch } from '../revocation/refusal.ts';
import type { CertificateFacts, Finding, NodeRepairPlan, QuorumFacts, RepairFacts, RepairPlan } from './types.ts';

export interface RepairQuestion {
  cluster: string;
  /** All nodes of the cluster. */
  nodes: RepairFacts[];
  /** Nodes that were asked for by name; empty: every control-plane node. */
  named: string[];
  nowMs: number;
}

/** States in which a certificate is on its way or in order. */
const wellStates = new Set(['Ready', 'Issuing', 'Pending']);
const gone = new Set<Finding['kind']>(['Expired', 'Missing', 'IdentityExpired', 'Silent']);

export function planRepair({ cluster, nodes, named, nowMs }: RepairQuestion): RepairPlan {
  const chosen = nodes.filter(({ name, role }) => (named.length > 0 ? named.includes(name) : role === 'control-plane'));
  const quorum = quorumOf(nodes, nowMs);
  return {
    nodes: chosen.map((node) => planNode(cluster, node, nowMs)),
    // Nothing is lost by doing all at once where there is no quorum, or nobody to keep one.
    strategy: quorum.members.length > 0 && quorum.healthy.length >= quorum.needed ? 'serial' : 'parallel',
    quorum,
  };
}

export function planNode(cluster: string, node: RepairFacts, nowMs: number): NodeRepairPlan {
  const findings = findingsOf(node, nowMs);
  const refused = new Set(
    findings.flatMap(({ kind, certificate }) => (kind === 'Refused' && certificate !== undefined ? [certificate] : [])),
  );
  const bad = findings.flatMap(({ certificate }) => (certificate !== undefined && !refused.has(certificate) ? [certificate] : []));
  const certificates = [...new Set(bad)];
  const expired = findings.some(({ kind }) => kind === 'IdentityExpired');
  const plan = { node: node.name, role: node.role, findings, certificates, expiredIdentity: expired ? node.identity.serial : undefined };
  const stop = whyNot(cluster, node, expired);
  if (stop !== undefined) return { ...plan, ...stop };
  if (certificates.length > 0 || expired || findings.some(({ kind }) => kind === 'Silent'))
    return { ...plan, action: 'repair', reason: '' };
  if (refused.size > 0) return { ...plan, action: 'refused', reason: refusalAdvice(cluster, findings) };
  const unwell = findings.filter(({ kind }) => kind === 'Unhealthy').map(({ message }) => message);
  const reason =
    unwell.length > 0
      ? `the certificates are in order, but ${unwell.join('; ')}: see the component's log`
      : 'the certificates are in order';
  return { ...plan, action: 'skip', reason };
}

/**
 * How etcd stands, as the agents saw it last; an agent that cannot have looked since (silent, or its identity has run out) is not believed. Where no health is asked, a control-plane
 * node counts while nothing of it has run out.
 */
export function quorumOf(nodes: RepairFacts[], nowMs: number): QuorumFacts {
  const controlPlane = nodes.filter(({ role, joined }) => role === 'control-plane' && joined);
  const members = controlPlane.filter(({ checked }) => checked.includes('etcd'));
  if (members.length === 0) {
    const usable = (node: RepairFacts): boolean => !findingsOf(node, nowMs).some(({ kind }) => gone.has(kind));
    return quorum('nodes', controlPlane, controlPlane.filter(usable));
  }
  const believed = ({ unreachable, identity }: RepairFacts): boolean => !unreachable && identity.notAfterMs > nowMs;
  const well = members.filter(
    (node) => believed(node) && node.components.some(({ name, state }) => name === 'etcd' && state === 'Healthy'),
  );
  return quorum('etcd', members, well);
}

function quorum(by: QuorumFacts['by'], members: RepairFacts[], healthy: RepairFacts[]): QuorumFacts {
  const names = (nodes: RepairFacts[]): string[] => nodes.map(({ name }) => name);
  return { by, members: names(members), healthy: names(healthy), needed: Math.floor(members.length / 2) + 1 };
}

function whyNot(
  cluster: string,
  { name, role, joined, identity, policy }: RepairFacts,
  expired: boolean,
): Pick<NodeRepairPlan, 'action' | 'reason'> | undefined {
  if (!joined) return { action: 'skip', reason: 'the node has not joined yet' };
  const token = `let it join again: 'evercert token create --cluster ${cluster} --role ${role} --node-name ${name}', then 'evercert-agent recover --token TOKEN' on it`;
  if (identity.revokedBy) {
    return {
      action: 'refused',
      reason: `its identity is revoked by ${describeMatch(identity.revokedBy)}, and a revoked identity is never recovered; ${token}`,
    };
  }
  if (expired && policy === 'never') {
    return {
      action: 'refused',
      reason: `its identity has expired, and the cluster's policy for ${role} nodes is never to recover one; ${token}`,
    };
  }
  return undefined;
}

function findingsOf(node: RepairFacts, nowMs: number): Finding[] {
  if (!node.joined) return [];
  const { identity } = node;
  const findings: Finding[] = [];
  if (identity.revokedBy) findings.push({ kind: 'IdentityRevoked', message: `identity revoked by ${describeMatch(identity.revokedBy)}` });
  if (identity.notAfterMs <= nowMs) findings.push({ kind: 'IdentityExpired', message: `identity expired at ${iso(identity.notAfterMs)}` });
  else if (identity.over) findings.push({ kind: 'IdentityExpired', message: 'identity is by a control CA that was replaced' });
  else if (node.unreachable) findings.push({ kind: 'Silent', message: 'the agent is not heard of' });
  findings.push(...node.certificates.flatMap((certificate) => findingOf(certificate, nowMs)));
  const unwell = node.components.filter(({ state }) => state !== 'Healthy');
  return [
    ...findings,
    ...unwell.map(({ name, state, message }): Finding => ({ kind: 'Unhealthy', message: `${name} is ${state}: ${message}` })),
  ];
}

function findingOf({ name, issued, reported, revokedBy, refusedBy }: CertificateFacts, nowMs: number): Finding[] {
  const found = (kind: Finding['kind'], message: string): Finding[] => [{ kind, certificate: name, message: `${name} ${message}` }];
  const [refusal] = refusedBy;
  if (refusal)
    return found(
      'Refused',
      `cannot be issued: ${describeMatch(refusal)}${refusal.notBeforeMs === undefined ? ', which has no notBefore' : ''}`,
    );
  const [match] = revokedBy;
  if (match) return found('Revoked', `revoked by ${describeMatch(match)}`);
  if (!issued) return found('Missing', 'has never been issued');
  const notAfterMs = reported && reported.serial !== '' ? reported.notAfterMs : issued.notAfterMs;
  if (notAfterMs <= nowMs) return found('Expired', `expired at ${iso(notAfterMs)}`);
  if (!reported || reported.serial === '') return found('Missing', 'is not in place on the node');
  if (!wellStates.has(reported.state)) return found('Broken', `is ${reported.state}${reported.error ? `: ${reported.error}` : ''}`);
  return reported.served === 'NotServed' ? found('Broken', 'is installed, but its component serves another one') : [];
}

function refusalAdvice(cluster: string, findings: Finding[]): string {
  const messages = findings.filter(({ kind }) => kind === 'Refused').map(({ message }) => message);
  const shown = messages.slice(0, 5).join('; ') + (messages.length > 5 ? `; and ${messages.length - 5} more` : '');
  return `${shown}. Set notBefore in the entry to the time up to which certificates are not to be trusted ('evercert get revocation NAME -o yaml', add it, 'evercert apply -f'), or delete the object, then run 'evercert repair ${cluster}' again`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
