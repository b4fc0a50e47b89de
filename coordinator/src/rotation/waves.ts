/** Whose certificates are renewed next, so that a whole cluster neither renews at once nor takes for ever. Pure. */
import { isLeft } from './progress.ts';
import type { LeafFacts, NodeVerdict, RenewalOrder, RotationNodeFacts, RotationQuestion } from './types.ts';

/**
 * A node takes part as a whole, and holds its place until it is through: where nodes stay behind, whatever makes them so does not reach the others. Control-plane nodes take turns where
 * components restart; workers go side by side with them.
 */
export function nextWave(question: RotationQuestion, verdicts: readonly NodeVerdict[]): RenewalOrder[] {
  const { nodes, target, inTurns, maxConcurrent, nowMs } = question;
  const place = { turns: 1, workers: maxConcurrent };
  const waiting: RotationNodeFacts[] = [];
  for (const [at, node] of nodes.entries()) {
    const state = verdicts[at]?.state;
    if (state === 'Done' || state === 'Away') continue;
    const left = toAsk(node, target, nowMs);
    // What it was asked for already and has not done yet.
    if (left.some((leaf) => !leaf.asked)) waiting.push(node);
    else place[laneOf(node, inTurns)] -= 1;
  }
  // One that was asked for a part, before a crash say, is asked for the rest first.
  const begun = (node: RotationNodeFacts): boolean => toAsk(node, target, nowMs).some(({ asked }) => asked);
  const order = [...waiting.filter(begun), ...waiting.filter((node) => !begun(node))];
  return order.flatMap((node) => {
    const lane = laneOf(node, inTurns);
    if (place[lane] <= 0) return [];
    place[lane] -= 1;
    const marks = toAsk(node, target, nowMs).map(({ name, issuedAtMs }) => [name, issuedAtMs + 1] as const);
    return [{ cluster: node.cluster, node: node.name, marks: Object.fromEntries(marks) }];
  });
}

function toAsk({ leaves }: RotationNodeFacts, target: string, nowMs: number): LeafFacts[] {
  return leaves.filter((leaf) => leaf.renewable && isLeft(leaf, target, nowMs));
}

function laneOf({ role }: RotationNodeFacts, inTurns: boolean): 'turns' | 'workers' {
  return inTurns && role === 'control-plane' ? 'turns' : 'workers';
}
