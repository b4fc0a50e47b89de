import type { RepairRequest, RepairResponse } from '@evercert/proto';
import { roleToProto } from '@evercert/shared/wire';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Leader } from '../leader.ts';
import type { RepairNews, RepairPlan } from '../repair/types.ts';
import { actorOf } from './callers.ts';
import type { CallContext } from './guard.ts';

/** Runs a repair for as long as the caller listens and this coordinator leads. */
export async function repair(
  call: ServerWritableStream<RepairRequest, RepairResponse>,
  context: CallContext,
  leader: Pick<Leader, 'parts'>,
): Promise<void> {
  const { repairs } = leader.parts();
  const { cluster, nodes, dryRun, window } = call.request;
  const windowMs = window ? window.seconds * 1000 + window.nanos / 1e6 : 0;
  const order = { cluster, nodes, dryRun, windowMs, actor: actorOf(context.caller) };
  await repairs.run(order, context.signal, (news) => {
    if (!call.destroyed && !call.writableEnded) call.write({ event: eventOf(news) });
  });
}

function eventOf(news: RepairNews): NonNullable<RepairResponse['event']> {
  switch (news.type) {
    case 'plan':
      return { $case: 'plan', value: planToProto(news.plan) };
    case 'progress': {
      const { timeMs, node, certificate, step, message } = news;
      return { $case: 'progress', value: { time: new Date(timeMs), node, certificate, step, message } };
    }
    case 'summary':
      return { $case: 'summary', value: { outcomes: news.outcomes } };
  }
}

function planToProto({ nodes, strategy }: RepairPlan) {
  return {
    strategy,
    nodes: nodes.map(({ node, role, findings, action, reason }) => ({
      node,
      role: roleToProto(role),
      findings: findings.map(({ message }) => message),
      action,
      reason,
    })),
  };
}
