import { faultPoint } from '@evercert/shared/fault-points';

/** Every durable step of a pair's life, in about the order in which they are passed. */
const steps = [
  'pending-key',
  'pending-chain',
  'record',
  'journal',
  'state-pair',
  'version-file',
  'version-folder',
  'capture-folder',
  'capture-switch',
  'link',
  'dated-file',
  'rename-temporary',
  'rename-keep',
  'commit',
  'switch',
  'dated-switch',
  'rename',
  'undeclare',
  'clear-pending',
  'clear-journal',
  'prune',
] as const;
export type PairStep = (typeof steps)[number];

/** Names for EVERCERT_FAULT_POINT: a test kills the process at each of them and looks at the pair. */
export const pairFaultPoints: readonly string[] = steps.flatMap((name) => [`agent.pair.${name}.before`, `agent.pair.${name}.after`]);

/** Runs one durable step between its two fault points. */
export async function step<T>(name: PairStep, action: () => Promise<T>): Promise<T> {
  faultPoint(`agent.pair.${name}.before`);
  const result = await action();
  faultPoint(`agent.pair.${name}.after`);
  return result;
}
