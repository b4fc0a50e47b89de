import { formatRfc3339 } from '@evercert/shared/manifest';
import { clusterHolds, type Hold, inOrder, limitHolds, nodeHolds } from './holds.ts';
import { countWorkers, freePlaces, isFailing, replacementOf, type WorkerCounts } from './limits.ts';
import type { Decision, ReplacementFacts, ReplacementQuestion, Verdict } from './types.ts';

/** Expired certificates told by name; the others are counted. */
const maxNamed = 3;

/**
 * Who is replaced now, who is held back, and why (invariant 13). Pure. A worker is due when any certificate that is declared for it, or its identity, has expired and was not renewed although the
 * coordinator was there to do it, and the grace time is over. What is not known never speaks for a replacement.
 */
export function decide(question: ReplacementQuestion): Decision {
  const counts = countWorkers(question);
  const ofCluster = clusterHolds(question, counts);
  const ofLimits = limitHolds(question, counts);
  const { queue, heldBack } = sortOut(question, ofCluster);
  const dryRun = question.policy.mode !== 'active';
  const free = ofLimits.length > 0 ? 0 : freePlaces(question);
  const start = dryRun ? [] : queue.slice(0, free).map(({ name }) => name);
  const places = new Map(queue.map(({ name }, place) => [name, place]));
  const verdicts = question.nodes.map((node): Verdict => {
    const settled = settledVerdict(question, node);
    if (settled) return settled;
    const own = heldBack.get(node.name);
    if (own) return held(question, node, own);
    const place = places.get(node.name) ?? Number.POSITIVE_INFINITY;
    if (ofLimits[0]) return held(question, node, ofLimits[0]);
    if (dryRun) return held(question, node, dryRunHold(queue, place, free));
    return place < free ? due(question, node) : held(question, node, turnHold(question, queue, place, free));
  });
  const [first] = inOrder([...ofCluster, ...ofLimits, ...(dryRun && question.policy.mode === 'dry-run' ? [dryRunOfCluster()] : [])]);
  return { verdicts, start, ...counts, held: first && { reason: first.reason, message: first.message } };
}

/**
 * Asked once more about one node whose replacement is under way, just before its machine is removed: `Due`: still. `Held`: not now, ask again. `NotDue`: it has recovered. Limits on how many
 * begin do not count, nor do maintenance windows, in which none begins.
 */
export function reconsider(question: ReplacementQuestion, name: string): Verdict {
  const node = question.nodes.find((one) => one.name === name);
  if (!node) return { node: name, kind: 'NotDue', reason: '', message: 'there is no such node any more' };
  const settled = settledVerdict({ ...question, history: { ...question.history, running: [] } }, { ...node, replacing: undefined });
  if (settled?.kind === 'NotDue') return { ...settled, reason: '', message: 'none of its certificates is expired any more' };
  if (settled) return settled;
  const counts: WorkerCounts = countWorkers(question);
  const holds = inOrder([
    ...clusterHolds(question, counts),
    ...nodeHolds(question, node).filter(({ reason }) => reason !== 'MaintenanceWindow'),
    ...(question.policy.mode === 'dry-run' ? [dryRunOfCluster()] : []),
  ]);
  return holds[0] ? held(question, node, holds[0]) : due(question, node);
}

/** Those with whom nothing but the limits interferes, who expired first in front; and what holds back each of the others. */
function sortOut(question: ReplacementQuestion, ofCluster: readonly Hold[]): { queue: ReplacementFacts[]; heldBack: Map<string, Hold> } {
  const heldBack = new Map<string, Hold>();
  const queue: ReplacementFacts[] = [];
  for (const node of question.nodes) {
    if (settledVerdict(question, node)) continue;
    const [first] = inOrder([...ofCluster, ...nodeHolds(question, node)]);
    if (first) heldBack.set(node.name, first);
    else queue.push(node);
  }
  queue.sort((a, b) => firstEnd(a) - firstEnd(b) || (a.name < b.name ? -1 : 1));
  return { queue, heldBack };
}

/** The verdict on a node of which there is nothing to be held back; undefined: it is a worker whose certificates have expired. */
function settledVerdict(question: ReplacementQuestion, node: ReplacementFacts): Verdict | undefined {
  if (node.role !== 'worker') return never(question, node);
  if (replacementOf(node, question.history) !== undefined) return underWay(question, node);
  const verdict = (reason: string, message: string): Verdict => ({ node: node.name, kind: 'NotDue', reason, message });
  if (node.phase === 'Removed') return verdict('', '');
  if (!node.joined) return verdict('NotJoined', 'it has never joined');
  // A node that is Ready has all that it should have in place; whatever else is said of it is not certain.
  if (node.phase === 'Ready') return verdict('', '');
  if (node.expired.some(({ endMs }) => endMs <= question.nowMs)) return undefined;
  if (!isFailing(node)) return verdict('', '');
  const why = node.phaseMessage === '' ? '' : `: ${node.phaseMessage}`;
  return verdict('NotExpired', `it is ${node.phase}${why}; it is not replaced as long as its certificates have not expired`);
}

function never({ cluster, nowMs }: ReplacementQuestion, node: ReplacementFacts): Verdict {
  const { name, phase, phaseMessage, expired } = node;
  const verdict = (reason: string, message: string): Verdict => ({ node: name, kind: 'Never', reason, message });
  if (!isFailing(node) || (phase === 'Joining' && expired.length === 0)) return verdict('', 'control-plane nodes are never replaced');
  const seen = expired.some(({ endMs }) => endMs <= nowMs)
    ? whatExpired(node, nowMs)
    : `it is ${phase}${phaseMessage ? `: ${phaseMessage}` : ''}`;
  const todo =
    phase === 'Repairing'
      ? 'its repair is under way'
      : `'evercert repair ${cluster} --dry-run' shows what is wrong, 'evercert repair ${cluster} --node ${name}' brings it back`;
  return verdict('NeedsRepair', `${seen}. Control-plane nodes are never removed: ${todo}`);
}

function underWay(question: ReplacementQuestion, node: ReplacementFacts): Verdict {
  const { history, cluster, pause } = question;
  const id = replacementOf(node, history) ?? '';
  const record = history.running.find((one) => one.id === id && one.backingOffUntilMs !== undefined);
  const step = node.replacing?.step ? `, step ${node.replacing.step}` : '';
  const verdict = { node: node.name, kind: 'Replacing' as const };
  const more = `'evercert describe replacement ${id}' tells how it goes`;
  if (pause) {
    const resume = `'evercert replacement resume ${pause.scope === 'all' ? '--all' : cluster}'`;
    return { ...verdict, reason: 'Paused', message: `replacement ${id}${step} was paused by ${pause.by}: ${resume} lets it go on` };
  }
  if (record?.backingOffUntilMs !== undefined) {
    const message = `replacement ${id}${step}: the new machine did not come up, another is made at ${formatRfc3339(record.backingOffUntilMs)}; ${more}`;
    return { ...verdict, reason: 'BackingOff', message, againAtMs: record.backingOffUntilMs };
  }
  return { ...verdict, reason: 'UnderWay', message: `replacement ${id}${step} is under way; ${more}` };
}

function due({ nowMs }: ReplacementQuestion, node: ReplacementFacts): Verdict {
  return { node: node.name, kind: 'Due', reason: 'CertificatesExpired', message: `${whatExpired(node, nowMs)}: it is replaced now` };
}

function held({ nowMs }: ReplacementQuestion, node: ReplacementFacts, { reason, message, againAtMs }: Hold): Verdict {
  return {
    node: node.name,
    kind: 'Held',
    reason,
    message: `${whatExpired(node, nowMs)}. Not replaced: ${message}`,
    ...(againAtMs !== undefined && { againAtMs }),
  };
}

function turnHold({ policy }: ReplacementQuestion, queue: readonly ReplacementFacts[], place: number, free: number): Hold {
  const before = queue.slice(0, Math.min(place, maxNamed)).map(({ name }) => name);
  const told = before.join(', ') + (place > maxNamed ? ` and ${place - maxNamed} more` : '');
  const limit =
    free < policy.maxConcurrent
      ? `${free} more may begin now (maxConcurrent ${policy.maxConcurrent}, maxPerHour ${policy.maxPerHour})`
      : `at most ${policy.maxConcurrent} may be replaced at once (maxConcurrent)`;
  return { reason: 'OneAtATime', message: `${limit}, and ${told} expired before it: it waits for its turn` };
}

function dryRunHold(queue: readonly ReplacementFacts[], place: number, free: number): Hold {
  const { message } = dryRunOfCluster();
  const when = place < free ? 'it would be replaced now' : `it would be replaced after ${queue[place - 1]?.name ?? 'others'}`;
  return { reason: 'DryRun', message: `${when}. ${message}` };
}

function dryRunOfCluster(): Hold {
  return {
    reason: 'DryRun',
    message: 'The policy says dry-run: decide and tell, do nothing; set spec.replacement.mode to active to have workers replaced',
  };
}

/** `its identity and kubelet-client expired, first at 2026-01-05T00:00:00Z; the agent says: …` */
function whatExpired({ expired, failure }: ReplacementFacts, nowMs: number): string {
  const ended = expired.filter(({ endMs }) => endMs <= nowMs).toSorted((a, b) => a.endMs - b.endMs);
  const names = ended.slice(0, maxNamed).map(({ name }) => name);
  const more = ended.length > maxNamed ? ` and ${ended.length - maxNamed} more` : '';
  const at = formatRfc3339(ended[0]?.endMs ?? nowMs);
  return `${names.join(', ')}${more} expired${ended.length > 1 ? ', the first' : ''} at ${at} without having been renewed${failure ? ` (${failure})` : ''}`;
}

function firstEnd({ expired }: ReplacementFacts): number {
  return Math.min(...expired.map(({ endMs }) => endMs));
}
