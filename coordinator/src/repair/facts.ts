import type { ControlCa } from '../ca/control-ca.ts';
import { type DesiredStates, matched } from '../desired/desired-states.ts';
import { identityName } from '../identity-uris.ts';
import type { NodeHub } from '../nodes/hub.ts';
import type { NodeStatuses } from '../nodes/statuses.ts';
import type { Revocations } from '../revocation/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { NodeRecord } from '../state/records.ts';
import type { CertificateFacts, RepairFacts } from './types.ts';

export interface FactsSources {
  model: Model;
  desired: DesiredStates;
  statuses: NodeStatuses;
  hub: Pick<NodeHub, 'isConnected'>;
  revocations: Revocations;
  nowMs: () => number;
  unreachableAfterMs: number;
  controlCa: Pick<ControlCa, 'trusts'>;
}

/** What is known of a node now, from the coordinator's own records and from what the agent said last. */
export function factsOf(sources: FactsSources, node: NodeRecord): RepairFacts {
  const { model, desired, statuses, hub, revocations, unreachableAfterMs, controlCa } = sources;
  const { cluster, name, role, identitySerials, identityNotAfterMs } = node;
  const policy = model.cluster(cluster)?.policy;
  const status = statuses.get(cluster, name);
  const plan = desired.plan(cluster, name);
  const [serial = ''] = identitySerials;
  const identity = model.currents.get(layout.current(cluster, name, identityName))?.record;
  return {
    name,
    role,
    joined: serial !== '',
    connected: hub.isConnected(cluster, name),
    unreachable: (statuses.silentMs(cluster, name) ?? Number.POSITIVE_INFINITY) > unreachableAfterMs,
    identity: {
      serial,
      notAfterMs: identityNotAfterMs,
      revokedBy: serial ? revocations.matchSerial(cluster, serial, identity?.issuedAtMs ?? 0) : undefined,
      over: identity?.serial === serial && !controlCa.trusts(identity),
    },
    // Clusters from before there was a choice have none.
    policy: (role === 'control-plane' ? policy?.controlPlaneRecovery : policy?.workerRecovery) ?? 'repair-window',
    certificates: certificatesOf(sources, node),
    components: (status?.report?.components ?? []).map(({ checkedAt, ...rest }) => ({ ...rest, checkedAtMs: checkedAt?.getTime() ?? 0 })),
    checked: [...new Set(plan?.desired.healthChecks.map(({ component }) => component) ?? [])],
  };
}

function certificatesOf(
  { model, desired, statuses, revocations, nowMs }: FactsSources,
  { cluster, name: node }: NodeRecord,
): CertificateFacts[] {
  const reports = new Map((statuses.get(cluster, node)?.report?.certificates ?? []).map((status) => [status.name, status]));
  return (desired.plan(cluster, node)?.resolved.certificates ?? []).map((declared): CertificateFacts => {
    const issued = model.currents.get(layout.current(cluster, node, declared.name))?.record;
    const report = reports.get(declared.name);
    return {
      name: declared.name,
      issued,
      reported: report && {
        serial: report.serial,
        notAfterMs: report.notAfter?.getTime() ?? 0,
        state: report.state,
        error: report.lastError,
        served: report.served,
      },
      verified: declared.verify !== undefined,
      revokedBy: issued ? revocations.matchIssued(matched(cluster, issued)) : [],
      refusedBy: revocations.matchProfile(cluster, declared, nowMs()),
    };
  });
}
