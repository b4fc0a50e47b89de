/** What a rotation waits for, and whether its next step may be made (invariant 18): a function of the facts alone. */
import { isLeft, leafVerdict, readsByItself, takesUpByItself, trustVerdict } from './progress.ts';
import type { NodeVerdict, RotationDecision, RotationNodeFacts, RotationQuestion } from './types.ts';
import { nextWave } from './waves.ts';

/** Nodes and certificates that are named; the others are counted. */
const maxNamed = 5;

export function decide(question: RotationQuestion): RotationDecision {
  const decision = byStage(question);
  const { pausedAtMs, pausedBy } = question.record;
  if (pausedAtMs === undefined) return decision;
  return { ...decision, ready: false, ask: [], waitingFor: `paused by ${pausedBy} at ${time(pausedAtMs)}` };
}

function byStage(question: RotationQuestion): RotationDecision {
  switch (question.record.stage) {
    case 'Preparing':
    case 'Activating':
      return { nodes: [], through: true, ready: true, ask: [], waitingFor: '' };
    case 'AwaitingCertificate':
      return { nodes: [], through: false, ready: false, ask: [], waitingFor: awaited(question) };
    case 'Spreading':
      return trusted(question, { settled: true });
    case 'Retiring':
    case 'AbortRetiring':
      // A component that goes on to trust what signs no more does no harm: nothing is waited for but what nodes say.
      return trusted(question, { settled: false });
    case 'Reissuing':
    case 'AbortReissuing':
      return reissued(question);
    case 'Completed':
    case 'Aborted':
      return { nodes: [], through: true, ready: false, ask: [], waitingFor: '' };
  }
}

/** A compromised CA is distrusted at the deadline, whoever is not through. */
function isOverdue({ record: { reason, deadlineMs }, nowMs }: RotationQuestion): boolean {
  return reason === 'compromise' && deadlineMs !== undefined && nowMs >= deadlineMs;
}

function trusted(question: RotationQuestion, { settled }: { settled: boolean }): RotationDecision {
  const { record, nodes: facts, target, published } = question;
  const nodes = facts.map((node) => trustVerdict(node, record.bundleVersion, target, question));
  const through = nodes.every(isThrough) && (published?.current ?? true);
  const restMs = settled ? restOf(question, readsByItself) : 0;
  const ready = isOverdue(question) || (through && restMs <= 0);
  const waitingFor = ready ? '' : (nodesText(nodes) ?? (published?.current === false ? published.message : settlingText(restMs)));
  return { nodes, through, ready, ask: [], waitingFor };
}

function reissued(question: RotationQuestion): RotationDecision {
  const { nodes: facts, target } = question;
  const nodes = facts.map((node) => leafVerdict(node, target, question));
  const through = nodes.every(isThrough);
  if (isOverdue(question)) return { nodes, through, ready: true, ask: [], waitingFor: '' };
  const outstanding = through ? outstandingText(question, nodes) : undefined;
  const restMs = restOf(question, takesUpByItself);
  return {
    nodes,
    through,
    ready: through && outstanding === undefined && restMs <= 0,
    ask: nextWave(question, nodes),
    waitingFor: nodesText(nodes) ?? outstanding ?? settlingText(restMs),
  };
}

/** How much longer components are given that take something up by themselves, on any node that is there. */
function restOf({ nodes, settleMs, throughForMs }: RotationQuestion, isGiven: (node: RotationNodeFacts) => boolean): number {
  return nodes.some((node) => node.away === undefined && isGiven(node)) ? Math.max(0, settleMs - throughForMs) : 0;
}

/** Certificates of nodes that are away, and of nobody's agent: a CA is in use as long as they can be. Undefined: there are none, or they are given up. */
function outstandingText(question: RotationQuestion, nodes: readonly NodeVerdict[]): string | undefined {
  const { record, nodes: facts, foreign, target, nowMs } = question;
  const givenUp = record.deadlineMs !== undefined && nowMs >= record.deadlineMs;
  if (record.reason === 'compromise' || givenUp) return undefined;
  const away = facts.flatMap(({ leaves, ...node }, at) => {
    if (nodes[at]?.state !== 'Away') return [];
    const ends = leaves.filter((leaf) => isLeft(leaf, target, nowMs)).map(({ notAfterMs }) => notAfterMs);
    return ends.length === 0 ? [] : [{ what: `those of ${node.name}, which is away`, endMs: Math.max(...ends) }];
  });
  const others = foreign.filter((leaf) => isLeft(leaf, target, nowMs)).map(({ name, notAfterMs }) => ({ what: name, endMs: notAfterMs }));
  const left = [...away, ...others];
  if (left.length === 0) return undefined;
  const endMs = Math.max(...left.map((one) => one.endMs));
  return `certificates that nobody here renews, or the deadline: ${listed(left.map(({ what }) => what))}; the last ends ${time(endMs)}`;
}

function isThrough({ state }: NodeVerdict): boolean {
  return state === 'Done' || state === 'Away';
}

function nodesText(nodes: readonly NodeVerdict[]): string | undefined {
  const rank = { Behind: 0, Waiting: 1, Done: 2, Away: 2 };
  const waited = nodes.filter((node) => !isThrough(node)).sort((a, b) => rank[a.state] - rank[b.state]);
  if (waited.length === 0) return undefined;
  const counted = nodes.filter(({ state }) => state !== 'Away').length;
  return `${waited.length} of ${counted} nodes: ${listed(waited.map(({ node, reason }) => `${node} (${reason})`))}`;
}

function settlingText(restMs: number): string {
  return restMs > 0 ? `components that read their files again by themselves: ${Math.ceil(restMs / 1000)} s more` : '';
}

function awaited({ record: { cluster, authority } }: RotationQuestion): string {
  return `the certificate of the new CA, by the root that is kept offline: 'evercert ca install ${cluster} --ca ${authority} --certificate FILE'`;
}

function listed(items: readonly string[]): string {
  const more = items.length > maxNamed ? ` and ${items.length - maxNamed} more` : '';
  return items.slice(0, maxNamed).join(', ') + more;
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
