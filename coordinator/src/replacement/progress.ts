/** What a replacement's record says is to be done next, and the record after each thing that happened. Pure. */
import type { ReplacementRecord, ReplacementStepRecord } from './types.ts';

export type StepName = ReplacementStepRecord['step'];

/** `GiveUp`: the machine of this attempt is not wanted any more. `End`: it is cancelled, and all that has to be undone is. */
export type Act = Exclude<StepName, 'Done'> | 'GiveUp' | 'End';

export type Todo =
  | { type: 'ended' }
  | { type: 'act'; act: Act }
  /** Until something changes, or until that time. */
  | { type: 'wait'; untilMs?: number };

export interface Circumstances {
  paused: boolean;
  /** The new node has joined. */
  joined: boolean;
  nowMs: number;
  /** No wait is meant to be longer: a time that is further away was set by a clock that has been set back since. */
  longestWaitMs: number;
}

const maxSteps = 64;
/** Of one message: the rest of what a driver tells is in the log. */
const maxMessage = 500;

export function isEnded({ state }: ReplacementRecord): boolean {
  return state === 'Succeeded' || state === 'Cancelled';
}

/** One thing at a time. A pause holds every further step, but does not keep an admin from ending a replacement. */
export function nextTodo(record: ReplacementRecord, { paused, joined, nowMs, longestWaitMs }: Circumstances): Todo {
  if (isEnded(record)) return { type: 'ended' };
  if (paused && !record.cancel) return { type: 'wait' };
  const { nextAttemptAtMs } = record;
  const waits = nextAttemptAtMs !== undefined && nextAttemptAtMs > nowMs && nextAttemptAtMs - nowMs <= longestWaitMs;
  if (waits) return { type: 'wait', untilMs: nextAttemptAtMs };
  if (record.cancel) return { type: 'act', act: cancelAct(record, joined) };
  if (record.discarding !== undefined) return { type: 'act', act: 'Discard' };
  if (record.step === 'Create') return { type: 'act', act: record.newNode === '' ? 'Allocate' : 'Create' };
  return record.step === 'Done' ? { type: 'ended' } : { type: 'act', act: record.step };
}

function cancelAct(record: ReplacementRecord, joined: boolean): Act {
  if (record.withdrawnAtMs === undefined) return stepOf(record, 'Cordon') && !isOver(stepOf(record, 'Uncordon')) ? 'Uncordon' : 'End';
  if (record.discarding !== undefined) return 'Discard';
  // A machine that joins is a good machine: only one that did not is thrown away.
  return !joined && stepOf(record, 'Create') && !isOver(stepOf(record, 'Discard')) ? 'GiveUp' : 'End';
}

/** The step as it was last begun in the present attempt. */
export function stepOf({ steps, attempt }: ReplacementRecord, step: StepName): ReplacementStepRecord | undefined {
  return steps.findLast((one) => one.step === step && one.attempt === attempt);
}

function isOver(step: ReplacementStepRecord | undefined): boolean {
  return step?.finishedAtMs !== undefined;
}

/** The same for every repeat of a step of an attempt. */
export function idempotencyKey({ id, attempt }: Pick<ReplacementRecord, 'id' | 'attempt'>, step: StepName): string {
  return `${id}-${attempt}-${step.toLowerCase()}`;
}

/** The record that says that a step is begun; undefined: it says so already. A repeat of it keeps the time of its first begin, unless the clock was set back before that. */
export function begun(record: ReplacementRecord, step: StepName, nowMs: number): ReplacementRecord | undefined {
  const earlier = stepOf(record, step);
  const isRepeat = earlier !== undefined && earlier.finishedAtMs === undefined;
  if (isRepeat && earlier.result === '' && record.nextAttemptAtMs === undefined && earlier.startedAtMs <= nowMs) return undefined;
  const { nextAttemptAtMs: _waited, ...rest } = record;
  return withStep(rest, {
    step,
    attempt: record.attempt,
    idempotencyKey: idempotencyKey(record, step),
    startedAtMs: isRepeat ? Math.min(earlier.startedAtMs, nowMs) : nowMs,
    result: '',
    message: isRepeat ? earlier.message : '',
  });
}

/** The record after a step that is over. */
export function finished(
  record: ReplacementRecord,
  step: StepName,
  { result, message, nowMs }: { result: 'Done' | 'Skipped'; message: string; nowMs: number },
): ReplacementRecord {
  const { nextAttemptAtMs: _waited, ...rest } = record;
  const earlier = stepOf(record, step);
  const before = earlier ?? { step, attempt: record.attempt, idempotencyKey: idempotencyKey(record, step), startedAtMs: nowMs };
  const shown = clipped(message);
  return { ...withStep(rest, { ...before, finishedAtMs: nowMs, result, message: shown }), message: shown, failures: 0 };
}

/** The record after a try of a step that failed and is made again. */
export function failed(
  record: ReplacementRecord,
  step: StepName,
  { message, nextAttemptAtMs }: { message: string; nextAttemptAtMs: number },
): ReplacementRecord {
  const earlier = stepOf(record, step);
  const shown = clipped(message);
  const base = { ...record, message: shown, failures: record.failures + 1, nextAttemptAtMs };
  return earlier ? withStep(base, { ...earlier, result: 'Failed', message: shown }) : base;
}

export function clipped(message: string): string {
  const line = message.replace(/\s+/g, ' ').trim();
  return line.length > maxMessage ? `${line.slice(0, maxMessage - 1)}…` : line;
}

/** In the place of the same step that is not over; else last. */
function withStep(record: ReplacementRecord, step: ReplacementStepRecord): ReplacementRecord {
  const at = record.steps.findLastIndex((one) => one.step === step.step && one.attempt === step.attempt && one.finishedAtMs === undefined);
  const steps = at < 0 ? [...record.steps, step] : record.steps.with(at, step);
  return { ...record, steps: steps.slice(-maxSteps) };
}
