/** How far one node has come: pure functions of its facts. */
import type { BundleFacts, LeafFacts, NodeVerdict, RotationNodeFacts } from './types.ts';

/** Characters of an agent's words that are kept. */
const maxWords = 300;
/** Complaints of one node that are told; the others are counted. */
const maxTold = 3;

/** What is still to come; `wrong`: it does not come by itself, as far as the node says. */
interface Complaint {
  text: string;
  wrong: boolean;
}

export interface Moment {
  nowMs: number;
  behindAfterMs: number;
}

/** Whether a node trusts what the bundle of this version holds: its files, and the components that read them. */
export function trustVerdict(node: RotationNodeFacts, version: number, target: string, moment: Moment): NodeVerdict {
  return verdict(node, trustComplaints(node, version), target, moment);
}

/** Whether all that a node has of the CA comes from the target, and is in place there. */
export function leafVerdict(node: RotationNodeFacts, target: string, moment: Moment): NodeVerdict {
  const complaints = node.leaves.flatMap((leaf) => leafComplaint(leaf, target, moment.nowMs) ?? []);
  return verdict(node, complaints, target, moment);
}

/** A component that is neither told nor looked at reads its bundle again by itself, which takes its time. */
export function readsByItself({ bundles }: RotationNodeFacts): boolean {
  return bundles.some(({ looked, reloads, reported }) => !looked && !(reloads && reported?.reloadOwed !== undefined));
}

/** The same of a certificate: kube-apiserver serves the one before for a minute, and client-go shows it for five. An agent uses its identity at once. */
export function takesUpByItself({ leaves, pins }: RotationNodeFacts): boolean {
  return pins === undefined && leaves.some(({ renewable, looked, revoked }) => renewable && !looked && !revoked);
}

/** It comes from another key than the target, and could still be used. */
export function isLeft(
  { issuerSerial, notAfterMs, revoked }: Pick<LeafFacts, 'issuerSerial' | 'notAfterMs' | 'revoked'>,
  target: string,
  nowMs: number,
): boolean {
  return issuerSerial !== target && notAfterMs > nowMs && !revoked;
}

function verdict(node: RotationNodeFacts, complaints: readonly Complaint[], target: string, { nowMs, behindAfterMs }: Moment): NodeVerdict {
  const left = node.leaves.filter((leaf) => isLeft(leaf, target, nowMs)).length;
  const common = {
    cluster: node.cluster,
    node: node.name,
    role: node.role,
    certificatesLeft: left,
    cutOff:
      left > 0 || node.leaves.some((leaf) => leaf.notAfterMs > nowMs && !leaf.revoked && !leaf.taken && leaf.reported?.same === false),
  };
  if (node.away !== undefined) return { ...common, state: 'Away', reason: node.away };
  if (complaints.length === 0) return { ...common, state: 'Done', reason: '' };
  const late = nowMs - node.sinceMs > behindAfterMs;
  const told = [...complaints].sort((a, b) => Number(b.wrong) - Number(a.wrong)).map(({ text }) => text);
  const more = told.length > maxTold ? ` and ${told.length - maxTold} more` : '';
  return {
    ...common,
    state: late || complaints.some(({ wrong }) => wrong) ? 'Behind' : 'Waiting',
    reason: told.slice(0, maxTold).join('; ') + more,
  };
}

function trustComplaints(node: RotationNodeFacts, version: number): Complaint[] {
  const { pins, applied, bundles } = node;
  if (pins) return pinComplaints(pins, applied);
  // Its agent checks certificates against what it was sent; there is no file that could be behind.
  if (bundles.length === 0) return applied ? [] : [waiting('it has not put the new desired state into effect')];
  return bundles.flatMap((bundle) => bundleComplaint(bundle, version) ?? []);
}

function pinComplaints({ wanted, trusted }: NonNullable<RotationNodeFacts['pins']>, applied: boolean): Complaint[] {
  if (trusted === undefined) return applied ? [] : [waiting('its agent has not put the new desired state into effect')];
  const missing = wanted.filter((pin) => !trusted.includes(pin));
  const more = trusted.filter((pin) => !wanted.includes(pin));
  if (missing.length > 0) return [waiting(`its agent does not trust the control CA ${missing.join(', ')} yet`)];
  return more.length > 0 ? [waiting(`its agent still trusts the control CA ${more.join(', ')}`)] : [];
}

function bundleComplaint({ name, path, looked, reported }: BundleFacts, version: number): Complaint | undefined {
  const what = `trust bundle ${name} (${path})`;
  if (!reported) return waiting(`nothing is heard of ${what}`);
  if (reported.error !== '') return wrong(`${what}: ${words(reported.error)}`);
  if (reported.version < version) return waiting(`${what} is of version ${reported.version}, not ${version}`);
  if (reported.state !== 'Ready') return waiting(`${what} is ${reported.state}`);
  if (reported.reloadOwed) return waiting(`the component that reads ${what} is still to be told of it`);
  if (!looked || reported.served === 'Served') return undefined;
  if (reported.served === 'NotServed') return wrong(`${what}: ${words(reported.servedMessage)}`);
  if (reported.served === 'Unreachable') return waiting(`${what}: ${words(reported.servedMessage)}`);
  return waiting(`it has not been seen yet that the component accepts ${what}`);
}

function leafComplaint(leaf: LeafFacts, target: string, nowMs: number): Complaint | undefined {
  const { name, serial, notAfterMs, renewable, asked, looked, reported, revoked, issuerSerial } = leaf;
  if (revoked || notAfterMs <= nowMs) return undefined;
  const because = reported?.error ? `: ${words(reported.error)}` : '';
  if (issuerSerial !== target) {
    if (!renewable) return waiting(`${name} is renewed by nobody here; it ends ${new Date(notAfterMs).toISOString()}`);
    if (!asked) return waiting(`${name} waits for its turn`);
    return { text: `${name} is being renewed${because}`, wrong: because !== '' };
  }
  if (!renewable || leaf.taken) return undefined;
  if (!reported || reported.serial === '')
    return { text: `the new certificate of ${name} is not in place${because}`, wrong: because !== '' };
  if (!reported.same)
    return { text: `${name} still has serial ${reported.serial} in place, not ${serial}${because}`, wrong: because !== '' };
  if (!looked || reported.served === 'Served') return undefined;
  if (reported.served === 'NotServed') return wrong(`${name} is in place, but its component serves another certificate`);
  return waiting(
    reported.served === 'Unreachable' ? `the component of ${name} cannot be looked at` : `it has not been seen yet that ${name} is served`,
  );
}

function waiting(text: string): Complaint {
  return { text, wrong: false };
}

function wrong(text: string): Complaint {
  return { text, wrong: true };
}

function words(text: string): string {
  return text.slice(0, maxWords);
}
