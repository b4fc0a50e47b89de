import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { EventRecorder } from '../events/recorder.ts';
import type { Provisioners } from '../provisioning/provisioners.ts';
import type { JoinFacts } from '../provisioning/types.ts';
import type { Model } from '../state/model.ts';
import type { ProvisionerCalls } from './calls.ts';
import type { ReplacementPauses } from './pauses.ts';
import type { ReplacementRecords } from './records.ts';
import type { NodeSwap } from './swap.ts';
import type { ReplacementRecord } from './types.ts';

/** What is decided of the node once more, immediately before its machine is removed. */
export type Confirmation =
  | { type: 'go' }
  /** Not now; asked again a little later. */
  | { type: 'wait'; message: string }
  /** Not at all: the replacement is cancelled. */
  | { type: 'recovered'; message: string };

export interface SagaOptions {
  records: Pick<ReplacementRecords, 'get' | 'update'>;
  swap: Pick<NodeSwap, 'withdrawal' | 'checkNew' | 'registration' | 'departure' | 'token' | 'givingUp' | 'discarded' | 'ending' | 'event'>;
  model: Pick<Model, 'node'>;
  pauses: Pick<ReplacementPauses, 'of'>;
  provisioners: Provisioners;
  calls: ProvisionerCalls;
  events: Pick<EventRecorder, 'recordOncePerMinute'>;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  policyOf: (cluster: string) => ReplacementPolicy;
  confirm: (record: ReplacementRecord) => Confirmation;
  /** The node is Ready, by its health. */
  isReady: (cluster: string, node: string) => boolean;
  join: () => Pick<JoinFacts, 'endpoints' | 'caPins'>;
  /** A place at which tests end the process. */
  fault: (name: string) => void | Promise<void>;
}

/** The node has an identity. */
export function isJoined(model: Pick<Model, 'node'>, cluster: string, name: string): boolean {
  return (model.node(cluster, name)?.identitySerials.length ?? 0) > 0;
}
