/** What a rotation would do, before it is begun: pure functions of how everything stands. */
import type { RotationRecord } from '../state/records.ts';
import { isLeft, leafVerdict } from './progress.ts';
import type { NodeVerdict, RotationNodeFacts, RotationQuestion, RotationView } from './types.ts';

const maxNamed = 5;

/** No certificate is by it yet. */
const nothing = '';

/** Each node with what it would have to renew. Cut off would be who is away now: all others renew before. */
export function foreseen(record: RotationRecord, question: RotationQuestion | undefined): RotationView {
  const nodes = (question?.nodes ?? []).map((node): NodeVerdict => {
    const { certificatesLeft, state, reason } = leafVerdict(
      { ...node, sinceMs: question?.nowMs ?? 0 },
      nothing,
      question ?? { nowMs: 0, behindAfterMs: 0 },
    );
    const common = { cluster: node.cluster, node: node.name, role: node.role, certificatesLeft };
    return state === 'Away'
      ? { ...common, state, reason, cutOff: certificatesLeft > 0 }
      : { ...common, state: 'Waiting', reason: '', cutOff: false };
  });
  return { record, nodes, waitingFor: '' };
}

/** What an admin should know before it begins. */
export function warningsOf({ authority, reason, deadlineMs }: RotationRecord, question: RotationQuestion | undefined): string[] {
  if (!question) return [];
  const { nodes, foreign, nowMs } = question;
  const warnings: string[] = [];
  const away = nodes.filter((node) => node.away !== undefined).map(({ name }) => name);
  if (away.length > 0)
    warnings.push(
      `${authority}: not heard, so they are not waited for, and come back by themselves or by repair: ${named(away)}` +
        (reason === 'compromise'
          ? ''
          : `; the old CA is retired once their certificates have ended${deadlineMs === undefined ? ' (or set a deadline)' : ', or at the deadline'}`),
    );
  const others = foreign.filter((leaf) => isLeft(leaf, nothing, nowMs));
  if (others.length > 0)
    warnings.push(
      `${authority}: certificates that no agent renews: ${named(others.map(({ name }) => name))}; the last ends ${new Date(Math.max(...others.map(({ notAfterMs }) => notAfterMs))).toISOString()}` +
        (reason === 'compromise' ? ', and they are cut off before' : ''),
    );
  const blind = nodes.filter(readsByItself).map(({ name }) => name);
  if (blind.length > 0)
    warnings.push(
      `${authority}: neither a reload nor a place to look at (verify) is declared with the trust bundle on ${named(blind)}: a component that reads it at its start alone (etcd, kubeconfigs) trusts the old CA until you restart it` +
        (reason === 'compromise' ? '' : '; what the new CA issues reaches it all the same, by a cross certificate'),
    );
  if (reason === 'compromise' && deadlineMs === undefined)
    warnings.push(`${authority}: no deadline is given: it stays trusted until the last node that is heard has renewed`);
  return warnings;
}

function readsByItself({ bundles, away }: RotationNodeFacts): boolean {
  return away === undefined && bundles.some(({ looked, reloads }) => !looked && !reloads);
}

function named(names: readonly string[]): string {
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : '';
  return names.slice(0, maxNamed).join(', ') + more;
}
