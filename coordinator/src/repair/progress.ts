/** How far the repair of one node has come: a pure function over plain data. */
import type { NodeRepairPlan, RepairFacts } from './types.ts';

export interface NodeProgress {
  /** The node has a good identity that is not the expired one; also true where none was to be replaced. */
  recovered: boolean;
  /** Certificates of the plan that were issued since the beginning and are in place. */
  issued: string[];
  /** Of these, those whose component was seen to serve them. */
  serving: string[];
  /** What is still waited for, for a person; empty: the node is repaired. */
  waiting: string[];
}

export interface ProgressQuestion {
  plan: NodeRepairPlan;
  facts: RepairFacts;
  /** When the repair of the node began, by the wall clock. */
  startMs: number;
  nowMs: number;
}

/** So long is waited for a component to be seen with the new certificate; one that does not answer then is not held against the certificate. */
const lookMs = 15_000;

export function progressOf({ plan, facts, startMs, nowMs }: ProgressQuestion): NodeProgress {
  const { identity, certificates } = facts;
  const waiting: string[] = [];
  const recovered = identity.notAfterMs > nowMs && identity.serial !== plan.expiredIdentity;
  if (!recovered) waiting.push('the node to come back on its expired identity');
  else if (!facts.connected) waiting.push('the agent to connect');
  const issued: string[] = [];
  const serving: string[] = [];
  for (const name of plan.certificates) {
    const certificate = certificates.find((each) => each.name === name);
    // No longer declared: there is nothing left to repair.
    if (!certificate) continue;
    const { issued: newest, reported, verified } = certificate;
    if (!newest || newest.issuedAtMs < startMs || reported?.serial !== newest.serial) {
      waiting.push(`a fresh ${name}${reported?.error ? ` (${reported.error})` : ''}`);
      continue;
    }
    issued.push(name);
    if (!verified || reported.served === 'Served') {
      if (verified) serving.push(name);
    } else if (reported.served === 'NotServed' || nowMs - newest.issuedAtMs < lookMs) waiting.push(`${name} to be served`);
  }
  for (const name of facts.checked) {
    const component = facts.components.find((each) => each.name === name);
    if (component?.state === 'Healthy' && component.checkedAtMs >= startMs) continue;
    waiting.push(`${name} to be healthy${component ? ` (${component.state}: ${component.message})` : ''}`);
  }
  return { recovered, issued, serving, waiting };
}
