export { Repairs, type RepairsOptions } from './controller.ts';
export { planNode, planRepair, quorumOf } from './planner.ts';
export { type NodeProgress, progressOf } from './progress.ts';
export type * from './types.ts';
export { defaultWindowMs, longestWindowMs, RepairWindows } from './windows.ts';
