/** What a policy allows, worked out anew: nothing here is shared with the code that is judged. */
import type { ReplacementPolicy } from '@evercert/shared/manifest';

const dayMs = 86_400_000;
const names = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export function mostUnhealthy(text: string, workers: number): number {
  const percent = /^(\d+)%$/.exec(text);
  return percent ? Math.floor((Number(percent[1]) / 100) * workers + 1e-9) : Number.parseInt(text, 10);
}

/** A maintenance window of the policy holds the node at that time. */
export function inWindow({ maintenanceWindows }: ReplacementPolicy, labels: Readonly<Record<string, string>>, nowMs: number): boolean {
  return maintenanceWindows.some(({ time, selector }) => {
    if (!Object.entries(selector.labels ?? {}).every(([key, value]) => labels[key] === value)) return false;
    if (time.type === 'once') return nowMs >= time.fromMs && nowMs < time.untilMs;
    const daysBack = Math.ceil(time.durationSeconds / 86_400) + 1;
    return Array.from({ length: daysBack + 1 }, (_, back) => new Date(nowMs - back * dayMs)).some((day) => {
      const startMs = Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate(), 0, time.startMinutes);
      const isOn = time.days.length === 0 || time.days.some((name) => name === names[day.getUTCDay()]);
      return isOn && nowMs >= startMs && nowMs < startMs + time.durationSeconds * 1000;
    });
  });
}
