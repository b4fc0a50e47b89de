import type { StatusReport } from '@evercert/proto';
import { publicKeyPin } from '@evercert/shared/x509';
import { trustAnchors } from '../ca/authorities.ts';
import { firstGeneration } from '../ca/generations.ts';
import { type DesiredStates, matched, type NodePlan } from '../desired/desired-states.ts';
import { identityName } from '../enrollment/identities.ts';
import { isRequestName } from '../kubernetes/signers/certificate-names.ts';
import type { Revocations } from '../revocation/index.ts';
import { layout, partsAfter } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { AuthorityRecord, CurrentRecord, NodeRecord } from '../state/records.ts';
import type { BundleFacts, ForeignLeaf, LeafFacts, RotationNodeFacts } from './types.ts';

export interface RotationSources {
  model: Model;
  desired: Pick<DesiredStates, 'plan'>;
  statuses: { get(cluster: string, name: string): { report: StatusReport | undefined; lastSeenAtMs: number } | undefined };
  /** Since the last sign of life, by the monotonic clock; undefined: there was none. */
  silentMs: (cluster: string, node: string) => number | undefined;
  revocations: Pick<Revocations, 'entries' | 'matchIssued' | 'matchProfile'>;
  awayAfterMs: number;
  nowMs: () => number;
}

/** A certificate of the CA with where it stands. */
interface Held {
  cluster: string;
  /** Empty: no node's. */
  node: string;
  name: string;
  current: CurrentRecord;
}

export interface RotationFacts {
  nodes: Omit<RotationNodeFacts, 'sinceMs'>[];
  foreign: ForeignLeaf[];
}

/** What is known of everybody who has something of a CA. A node that has not joined has nothing yet, and joins into the trust that there is then. */
export function rotationFactsOf(sources: RotationSources, authority: AuthorityRecord): RotationFacts {
  const { model } = sources;
  const isControl = authority.cluster === layout.controlScope;
  const held = heldOf(sources, authority);
  const nodes = (isControl ? model.nodes.list() : model.nodesOf(authority.cluster)).filter(
    ({ identitySerials }) => identitySerials.length > 0,
  );
  const known = new Set(nodes.map(({ cluster, name }) => `${cluster}/${name}`));
  const byNode = Map.groupBy(held, ({ cluster, node }) => `${cluster}/${node}`);
  return {
    nodes: nodes.flatMap((node) => nodeFacts(sources, authority, node, byNode.get(`${node.cluster}/${node.name}`) ?? []) ?? []),
    foreign: held
      .filter(({ cluster, node }) => !known.has(`${cluster}/${node}`))
      .map(({ cluster, node, name, current }) => ({
        cluster,
        name: node === '' ? name : `${node}/${name}`,
        issuerSerial: issuerSerialOf(authority, current),
        notAfterMs: current.notAfterMs,
        revoked: isRevoked(sources, cluster, current),
      })),
  };
}

/** The newest certificate of each name that a CA has issued. */
function heldOf({ model, desired }: Pick<RotationSources, 'model' | 'desired'>, authority: AuthorityRecord): Held[] {
  const isControl = authority.cluster === layout.controlScope;
  const prefix = isControl ? layout.allCurrents : layout.currents(authority.cluster);
  return model.currents.entries(prefix).flatMap(({ key, record: current }) => {
    const [cluster = '', node = '', name = ''] = partsAfter(layout.allCurrents, key);
    const issuer = current.issuer ?? issuerBefore(desired.plan(cluster, node), name);
    return issuer === authority.name ? [{ cluster, node, name, current }] : [];
  });
}

/** How many of those have not ended, by the serial of the CA's certificate by whose key they are signed. */
export function liveLeaves(
  sources: Pick<RotationSources, 'model' | 'desired'>,
  authority: AuthorityRecord,
  nowMs: number,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { current } of heldOf(sources, authority)) {
    const serial = issuerSerialOf(authority, current);
    if (current.notAfterMs > nowMs) counts.set(serial, (counts.get(serial) ?? 0) + 1);
  }
  return counts;
}

/** Records of earlier releases do not name the CA. */
function issuerBefore(plan: NodePlan | undefined, name: string): string {
  if (name === identityName) return 'control-ca';
  if (isRequestName(name)) return 'cluster-ca';
  return plan?.resolved.certificates.find((one) => one.name === name)?.issuer ?? '';
}

function issuerSerialOf(authority: AuthorityRecord, { issuerSerial }: CurrentRecord): string {
  return issuerSerial ?? firstGeneration(authority).serial;
}

/** Undefined: nothing of the CA concerns the node. */
function nodeFacts(
  sources: RotationSources,
  authority: AuthorityRecord,
  node: NodeRecord,
  held: readonly Held[],
): Omit<RotationNodeFacts, 'sinceMs'> | undefined {
  const { desired, statuses } = sources;
  const { cluster, name, role } = node;
  const plan = desired.plan(cluster, name);
  if (!plan) return undefined;
  const isControl = authority.cluster === layout.controlScope;
  const report = statuses.get(cluster, name)?.report;
  const bundles = isControl ? [] : bundlesOf(authority, plan, report);
  const declared = plan.resolved.certificates.some(({ issuer }) => issuer === authority.name);
  if (!isControl && bundles.length === 0 && held.length === 0 && !declared) return undefined;
  return {
    cluster,
    name,
    role,
    away: awayOf(sources, node),
    applied: report?.appliedRevision === plan.desired.revision,
    bundles,
    leaves: held.map((one) => leafOf(sources, authority, node, plan, report, one)),
    pins: isControl ? pinsOf(authority, report) : undefined,
  };
}

function bundlesOf({ name: issuer }: AuthorityRecord, { desired }: NodePlan, report: StatusReport | undefined): BundleFacts[] {
  const declared = desired.bundles.filter((bundle) => bundle.issuer === issuer);
  return declared.map(({ name, file, verify, reload }) => {
    const status = report?.bundles.find((one) => one.name === name);
    return {
      name,
      path: file?.path ?? '',
      looked: verify !== '',
      reloads: reload !== undefined,
      reported: status && {
        version: status.version,
        state: status.state,
        error: status.lastError,
        served: status.served,
        servedMessage: status.servedMessage,
        reloadOwed: status.reloadOwed,
      },
    };
  });
}

function leafOf(
  sources: RotationSources,
  authority: AuthorityRecord,
  node: NodeRecord,
  { resolved }: NodePlan,
  report: StatusReport | undefined,
  { cluster, name, current }: Held,
): LeafFacts {
  const declared = resolved.certificates.find((one) => one.name === name && one.issuer === authority.name);
  const isIdentity = name === identityName;
  // An adopted certificate counts for its agent as issued when it was taken over.
  const issuedAtMs = Math.max(current.issuedAtMs, current.adoptedAtMs ?? 0);
  const { renewIfIssuedBeforeMs: marks } = node;
  const markMs = Math.max(marks[name] ?? 0, isIdentity ? 0 : (marks['*'] ?? 0));
  return {
    name,
    serial: current.serial,
    issuerSerial: issuerSerialOf(authority, current),
    notAfterMs: current.notAfterMs,
    issuedAtMs,
    renewable: declared !== undefined || isIdentity,
    asked: markMs > issuedAtMs,
    revoked: isRevoked(sources, cluster, current) || (declared !== undefined && isRefused(sources, cluster, declared)),
    looked: declared?.verify !== undefined,
    reported: isIdentity ? reportedIdentity(current, report) : reportedLeaf(name, current, report),
    taken: false,
  };
}

function reportedLeaf(name: string, current: CurrentRecord, report: StatusReport | undefined): LeafFacts['reported'] {
  const status = report?.certificates.find((one) => one.name === name);
  if (!status) return undefined;
  const { serial, fingerprint, lastError, served } = status;
  // A foreign certificate may bear a serial number of ours.
  const same =
    serial === current.serial && (fingerprint === undefined || current.fingerprint === undefined || fingerprint === current.fingerprint);
  return { serial: serial.slice(0, 64), same, error: lastError, served };
}

/** An agent of an earlier release does not say which identity it uses: it renews only what it has kept. */
function reportedIdentity({ serial }: CurrentRecord, report: StatusReport | undefined): LeafFacts['reported'] {
  if (!report) return undefined;
  const inUse = report.identitySerial === '' ? serial : report.identitySerial.slice(0, 64);
  return { serial: inUse, same: inUse === serial, error: '', served: '' };
}

function pinsOf(authority: AuthorityRecord, report: StatusReport | undefined): RotationNodeFacts['pins'] {
  const wanted = trustAnchors(authority).map((der) => publicKeyPin(der));
  const trusted = report?.controlCaPins;
  return { wanted, trusted: trusted && trusted.length > 0 ? trusted : undefined };
}

function isRevoked({ revocations }: RotationSources, cluster: string, current: CurrentRecord): boolean {
  return revocations.entries(cluster) > 0 && revocations.matchIssued(matched(cluster, current)).length > 0;
}

/** No other will be issued in its place before the entry is lifted. */
function isRefused(
  { revocations, nowMs }: RotationSources,
  cluster: string,
  declared: NodePlan['resolved']['certificates'][number],
): boolean {
  return revocations.entries(cluster) > 0 && revocations.matchProfile(cluster, declared, nowMs()).length > 0;
}

/** Why nobody waits for the node. One that has joined and has not been heard since counts from its identity's issue, for as long as it takes others to be heard again. */
function awayOf(
  { model, statuses, silentMs, revocations, awayAfterMs, nowMs }: RotationSources,
  { cluster, name, identitySerials }: NodeRecord,
): string | undefined {
  const identity = model.currents.get(layout.current(cluster, name, identityName))?.record;
  const [serial = ''] = identitySerials;
  const refused =
    revocations.entries(cluster) > 0 && identity && revocations.matchIssued(matched(cluster, { ...identity, serial })).length > 0;
  const silent = silentMs(cluster, name) ?? (identity ? nowMs() - identity.issuedAtMs : 0);
  if (silent <= awayAfterMs) return undefined;
  const seen = statuses.get(cluster, name)?.lastSeenAtMs;
  const since =
    seen === undefined ? 'it has joined, and has not been heard since' : `it has not been heard since ${new Date(seen).toISOString()}`;
  return refused ? `${since}; its identity is revoked` : since;
}
