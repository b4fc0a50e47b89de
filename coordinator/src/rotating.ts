import type { Clock } from '@evercert/shared/clock';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import { defaultRotationPolicy } from '@evercert/shared/manifest';
import type { Authorities } from './ca/authorities.ts';
import type { ControlCa } from './ca/control-ca.ts';
import type { CoordinatorConfig } from './config.ts';
import type { DesiredStates } from './desired/desired-states.ts';
import { EventRecorder } from './events/recorder.ts';
import type { KubernetesBridges } from './kubernetes/index.ts';
import { NodeRegistry } from './nodes/registry.ts';
import type { NodeStatuses } from './nodes/statuses.ts';
import type { Revocations } from './revocation/index.ts';
import { AuthorityCare, RotationOutlook, RotationRecords, RotationRunner, Rotations } from './rotation/index.ts';
import { layout } from './state/layout.ts';
import type { Model } from './state/model.ts';
import type { AuthorityRecord } from './state/records.ts';
import type { Store } from './store/index.ts';

export interface RotatingOptions {
  config: CoordinatorConfig;
  store: Store;
  clock: Clock;
  logger: Logger;
  events: EventRecorder;
  model: Model;
  controlCa: ControlCa;
  authorities: Authorities;
  desired: DesiredStates;
  statuses: NodeStatuses;
  revocations: Revocations;
  bridges: Pick<KubernetesBridges, 'published'>;
  newSuffix: () => string;
}

/** What rotates CAs: what every coordinator answers admins with, and what the leader runs. */
export async function startRotating(options: RotatingOptions) {
  const { config, store, clock, logger, events, model, controlCa, authorities, desired, statuses, revocations, bridges, newSuffix } =
    options;
  const newId = (): string => `ro-${newSuffix()}`;
  const accept = (authority: AuthorityRecord, revision: number): void => {
    if (authority.cluster === layout.controlScope) controlCa.accept(authority, revision);
    else model.authorities.accept(layout.authority(authority.cluster, authority.name), authority, revision);
  };
  const rotationRecords = new RotationRecords({ store, accept, events, logger });
  await rotationRecords.start();
  const { awayAfter, behindAfter, checkEvery, controlCa: ofControlCa } = config.rotation;
  const controlPolicy = {
    ...defaultRotationPolicy,
    automatic: ofControlCa.automatic,
    beforeSeconds: ofControlCa.before,
    maxConcurrent: ofControlCa.maxConcurrent,
  };
  const authority = (cluster: string, name: string): AuthorityRecord | undefined =>
    cluster === layout.controlScope ? controlCa.record : model.authority(cluster, name);
  const outlook = new RotationOutlook({
    model,
    desired,
    statuses,
    silentMs: (cluster, node) => statuses.silentMs(cluster, node),
    revocations,
    awayAfterMs: awayAfter * 1000,
    behindAfterMs: behindAfter * 1000,
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    authority,
    adminLifetimeMs: config.adminCertificateLifetime * 1000,
    controlPolicy,
    published: (cluster, name) => {
      const bundle = name === 'cluster-ca' ? model.authority(cluster, name)?.bundle : undefined;
      return bundle && bridges.published(cluster, bundle);
    },
  });
  const everyAuthority = (): AuthorityRecord[] => [...model.authorities.list(), controlCa.record];
  const rotations = new Rotations({ records: rotationRecords, outlook, authorities, everyAuthority, model, clock, newId });
  return {
    rotations,
    rotationRecords,
    stopReadingRotations: (): Promise<void> => rotationRecords.stop(),
    /** Made anew for each time that this coordinator leads. */
    rotationRunner: (fenced: Store): RotationRunner =>
      new RotationRunner({
        records: rotationRecords,
        outlook,
        registry: new NodeRegistry({ store: fenced, model, events: new EventRecorder(fenced, clock, logger) }),
        authorities,
        model,
        store: fenced,
        clock,
        logger,
        random: Math.random,
        newId,
        fault: faultPoint,
      }),
    authorityCare: (fenced: Store): AuthorityCare =>
      new AuthorityCare({
        records: rotationRecords,
        authorities,
        model,
        events,
        controlPolicy,
        store: fenced,
        clock,
        logger,
        newId,
        everyMs: checkEvery * 1000,
      }),
  };
}
