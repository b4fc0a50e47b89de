import { type Clock, systemClock, type Timer } from '@evercert/shared/clock';

/** The system's clock, with the wall and the monotonic one moved by hand. */
export class ShiftedClock implements Clock {
  wallMs = 0;
  monotonicShiftMs = 0;

  nowMs(): number {
    return systemClock.nowMs() + this.wallMs;
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.monotonicShiftMs;
  }

  at(wallMs: number, callback: () => void): Timer {
    return systemClock.at(wallMs - this.wallMs, callback);
  }

  after(durationMs: number, callback: () => void): Timer {
    return systemClock.after(durationMs, callback);
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(durationMs, signal);
  }
}
