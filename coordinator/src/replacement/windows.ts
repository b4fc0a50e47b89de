/** Maintenance windows: is a node in one now, and until when. Pure; all times are UTC, where every day has 24 hours. */
import { type MaintenanceWindow, selects, weekdays } from '@evercert/shared/manifest';
import type { ReplacementFacts } from './types.ts';

const minuteMs = 60_000;
const dayMs = 86_400_000;
/** 1970-01-01 was a Thursday. */
const weekdayOfEpoch = weekdays.indexOf('Thu');
/** Windows that follow one upon the other are followed so far; beyond, the end is not told. */
const farthestMs = 31 * dayMs;

export interface OpenWindow {
  /** Of the window that is open now. */
  name: string;
  /** When the node is in no window any more, those that follow without a break included; undefined: not within a month. */
  untilMs: number | undefined;
}

/** The window that a node is in; undefined: in none. A window includes its begin and not its end. */
export function openWindow(
  windows: readonly MaintenanceWindow[],
  node: Pick<ReplacementFacts, 'name' | 'role' | 'labels'>,
  nowMs: number,
): OpenWindow | undefined {
  const facts = { name: node.name, role: node.role, labels: node.labels, addresses: [], dnsNames: [] };
  const selected = windows.filter(({ selector }) => selects(selector, facts));
  const first = latestEnd(selected, nowMs);
  if (!first) return undefined;
  let untilMs = first.endMs;
  for (let next: typeof first | undefined = first; next; next = latestEnd(selected, untilMs)) {
    untilMs = next.endMs;
    if (untilMs - nowMs > farthestMs) return { name: first.name, untilMs: undefined };
  }
  return { name: first.name, untilMs };
}

function latestEnd(windows: readonly MaintenanceWindow[], atMs: number): { name: string; endMs: number } | undefined {
  let best: { name: string; endMs: number } | undefined;
  for (const { name, time } of windows) {
    const endMs = endOf(time, atMs);
    if (endMs !== undefined && (!best || endMs > best.endMs)) best = { name, endMs };
  }
  return best;
}

/** When an occurrence that holds the moment ends, the latest of them; undefined: none does. */
function endOf(time: MaintenanceWindow['time'], atMs: number): number | undefined {
  if (time.type === 'once') return time.fromMs <= atMs && atMs < time.untilMs ? time.untilMs : undefined;
  const lengthMs = time.durationSeconds * 1000;
  const today = Math.floor(atMs / dayMs);
  // The latest that began is the one that ends last.
  for (let day = today; day * dayMs + time.startMinutes * minuteMs + lengthMs > atMs; day -= 1) {
    const startMs = day * dayMs + time.startMinutes * minuteMs;
    if (startMs <= atMs && isOn(time.days, day)) return startMs + lengthMs;
  }
  return undefined;
}

function isOn(days: readonly string[], day: number): boolean {
  const name = weekdays[(((day + weekdayOfEpoch) % 7) + 7) % 7];
  return days.length === 0 || days.some((one) => one === name);
}
