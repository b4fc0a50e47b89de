import type { CertificateStatus, StatusReport } from '@evercert/proto';
import type { DesiredStates, NodePlan } from '../../desired/desired-states.ts';
import type { RepairWindows } from '../../repair/windows.ts';
import type { Revocations } from '../../revocation/index.ts';
import { layout } from '../../state/layout.ts';
import type { Model } from '../../state/model.ts';
import type { CurrentRecord, NodeRecord } from '../../state/records.ts';
import type { NodeStatuses } from '../statuses.ts';
import type { Inventory } from './inventory.ts';
import type { CertificateFacts, HealthFacts, PartFacts } from './types.ts';

export interface FactsSources {
  model: Model;
  desired: DesiredStates;
  statuses: NodeStatuses;
  revocations: Revocations;
  windows: Pick<RepairWindows, 'isOpen'>;
  inventory: Pick<Inventory, 'originOf'>;
  nowMs: () => number;
  unreachableAfterMs: number;
}

/** What is known of a node now: from the coordinator's own records, and from what its agent said last. */
export function factsOf(sources: FactsSources, node: NodeRecord): HealthFacts {
  const { model, desired, statuses, revocations, windows, nowMs, unreachableAfterMs } = sources;
  const { cluster, name, role, identitySerials, identityNotAfterMs } = node;
  const status = statuses.get(cluster, name);
  const removed = model.node(cluster, name) === undefined;
  const plan = removed ? undefined : desired.plan(cluster, name);
  const [serial = ''] = identitySerials;
  const issuedAtMs = model.currents.get(layout.current(cluster, name, 'identity'))?.record.issuedAtMs ?? 0;
  const match = serial ? revocations.matchSerial(cluster, serial, issuedAtMs) : undefined;
  return {
    role,
    removed,
    joined: serial !== '',
    silentMs: statuses.silentMs(cluster, name),
    unreachableAfterMs,
    lastSeenAtMs: status?.lastSeenAtMs,
    reported: status?.report !== undefined && plan !== undefined,
    fresh: status?.fresh ?? true,
    identity: { serial, notAfterMs: identityNotAfterMs, revokedBy: match && `entry ${match.entry + 1} of ${match.object}` },
    certificates: plan ? certificatesOf(sources, node, plan, status?.report) : [],
    parts: plan ? partsOf(plan, status?.report) : [],
    components: status?.report?.components.map(({ name: component, state, message }) => ({ name: component, state, message })) ?? [],
    problems: plan?.problems ?? [],
    repairing: windows.isOpen(cluster, name),
    replacing: removed ? undefined : node.replacement?.id,
    nowMs: nowMs(),
  };
}

function certificatesOf(
  { model, inventory }: FactsSources,
  { cluster, name: node }: NodeRecord,
  plan: NodePlan,
  report: StatusReport | undefined,
): CertificateFacts[] {
  const reports = new Map(report?.certificates.map((status) => [status.name, status]));
  const refused = new Map(plan.desired.certificates.map(({ name, revoked }) => [name, revoked]));
  const watched = new Set(plan.desired.certificates.filter(({ watchOnly }) => watchOnly).map(({ name }) => name));
  return plan.resolved.certificates.map(({ name, renewAt }): CertificateFacts => {
    const issued = model.currents.get(layout.current(cluster, node, name))?.record;
    const status = reports.get(name);
    const revoked = refused.get(name);
    return {
      name,
      // Of what is only watched, no renewal is owed until its end.
      renewAt: watched.has(name) ? 1 : renewAt,
      ...(watched.has(name) && { watchOnly: true }),
      issued: issued && {
        serial: issued.serial,
        issuedAtMs: issued.adoptedAtMs ?? issued.issuedAtMs,
        notAfterMs: wholeSeconds(issued.notAfterMs),
      },
      reported: status && {
        // What is longer is no serial number of ours.
        serial: status.serial.slice(0, 64),
        notAfterMs: status.notAfter?.getTime() ?? 0,
        nextRenewalAtMs: status.nextRenewalAt?.getTime(),
        state: status.state,
        error: status.lastError,
        errorCode: status.lastErrorCode,
        served: status.served,
        origin: isCurrent(status, issued) ? 'current' : inventory.originOf(cluster, node, name, status),
      },
      revokedBy: revoked && `entry ${revoked.entry + 1} (${revoked.kind} ${revoked.value}) of ${revoked.object}`,
    };
  });
}

/** By its serial number and, where both sides know it, by the whole certificate: a foreign one may bear a number of ours. */
function isCurrent({ serial, fingerprint }: CertificateStatus, issued: CurrentRecord | undefined): boolean {
  if (issued === undefined || serial !== issued.serial) return false;
  return fingerprint === undefined || issued.fingerprint === undefined || fingerprint === issued.fingerprint;
}

function partsOf({ desired }: NodePlan, report: StatusReport | undefined): PartFacts[] {
  const byName = <T extends { name: string }>(list: readonly T[] | undefined): Map<string, T> =>
    new Map(list?.map((one) => [one.name, one]));
  const bundles = byName(report?.bundles);
  const lists = byName(report?.revocationLists);
  const pairs = byName(report?.keyPairs);
  return [
    ...desired.bundles.map(({ name, version }): PartFacts => {
      const status = bundles.get(name);
      return {
        kind: 'trust bundle',
        name,
        inPlace: status?.state === 'Ready' && status.version === version,
        error: status?.lastError ?? '',
        served: status?.served ?? '',
        servedMessage: status?.servedMessage ?? '',
      };
    }),
    // Its number is not compared: an earlier list is good until its next update, and a new one is on its way twice a day.
    ...desired.revocationLists.map(({ name }): PartFacts => {
      const status = lists.get(name);
      return { kind: 'revocation list', name, inPlace: status?.state === 'Ready', error: status?.lastError ?? '' };
    }),
    ...desired.keyPairs.map(({ name }): PartFacts => {
      const status = pairs.get(name);
      return { kind: 'key pair', name, inPlace: status?.state === 'Ready' && status.lastError === '', error: status?.lastError ?? '' };
    }),
  ];
}

/** As it stands in the certificate (RFC 5280, 4.1.2.5.2), and so in what the node reports: otherwise the one in place would seem to end before the one that was issued. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
