import type { AdminServiceServer } from '@evercert/proto';
import { clusterNotFound } from '../clusters/clusters.ts';
import type { Leader } from '../leader.ts';
import type { Queries } from '../queries/queries.ts';
import type { ReplacementPauses } from '../replacement/pauses.ts';
import { type ReplacementRecords, replacementNotFound } from '../replacement/records.ts';
import type { Model } from '../state/model.ts';
import { actorOf } from './callers.ts';
import { nodeToProto } from './convert.ts';
import { pauseToProto, replacementToProto } from './convert-replacement.ts';
import type { Guard } from './guard.ts';

export interface ReplacementServiceOptions {
  guard: Guard;
  model: Model;
  queries: Queries;
  leader: Pick<Leader, 'parts'>;
  replacementRecords: ReplacementRecords;
  pauses: ReplacementPauses;
}

/** The newest; each may have dozens of steps, and an answer of gRPC has 4 MiB. */
const maxListed = 300;

type ReplacementMethods = 'listReplacements' | 'setReplacementPause' | 'cancelReplacement' | 'planReplacements';

/** The part of the admin API that is about replacements. */
export function replacementMethods(options: ReplacementServiceOptions): Pick<AdminServiceServer, ReplacementMethods> {
  const { guard, model, queries, leader, replacementRecords, pauses } = options;
  return {
    listReplacements: guard.unary(async ({ cluster, id, node }) => {
      if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
      const found = replacementRecords
        .list(cluster)
        .filter((one) => (id === '' || one.id === id) && (node === '' || one.node === node || one.newNode === node));
      if (id !== '' && found.length === 0) throw replacementNotFound(cluster, id);
      return { replacements: found.slice(0, maxListed).map(replacementToProto), pauses: pauses.list(cluster).map(pauseToProto) };
    }),
    setReplacementPause: guard.unary(async (request, context) => ({ changed: await pauses.set(request, actorOf(context.caller)) })),
    cancelReplacement: guard.unary(async ({ cluster, id }, context) => ({
      replacement: replacementToProto(await leader.parts().replacements.cancel(cluster, id, actorOf(context.caller))),
    })),
    planReplacements: guard.unary(async ({ cluster }) => {
      const { replacements } = leader.parts();
      const { verdicts, unhealthy, maxUnhealthy, workers, held } = replacements.plan(cluster);
      const decided = new Map(verdicts.map((verdict) => [verdict.node, verdict]));
      const nodes = model
        .nodesOf(cluster)
        .map((node) => ({ ...queries.node(node), replacement: replacements.verdictOf(node, decided.get(node.name)) }));
      return { nodes: nodes.map(nodeToProto), unhealthy, maxUnhealthy, workers, held: held?.message ?? '' };
    }),
  };
}
