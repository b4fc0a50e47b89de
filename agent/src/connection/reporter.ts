/** Decides when heartbeats, reports and events go out over the link that is up. */
import type { ConnectRequest } from '@evercert/proto';
import type { Clock, Timer } from '@evercert/shared/clock';
import type { EventQueue } from '../events.ts';
import { eventToProto, type Report, reportToProto } from './convert.ts';

/** The part of a link that the reporter uses. */
export interface Outlet {
  readonly writable: boolean;
  send(message: NonNullable<ConnectRequest['message']>): void;
}

export interface ReporterOptions {
  clock: Clock;
  random: () => number;
  events: EventQueue;
  report: () => Report;
}

/** Changes within this time go out as one report. */
const coalesceMs = 200;
const reportEveryMs = 30_000;
const defaultHeartbeatMs = 10_000;
const shortestHeartbeatMs = 100;

export class Reporter {
  readonly #options: ReporterOptions;
  #outlet: Outlet | undefined;
  #streams = 0;
  #heartbeatMs = defaultHeartbeatMs;
  #heartbeat: Timer | undefined;
  #report: { timer: Timer; dueMs: number } | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** From now on everything goes to this outlet; the first report at once. */
  attach(outlet: Outlet, heartbeatMs: number | undefined): void {
    this.detach();
    this.#outlet = outlet;
    this.#streams += 1;
    this.#heartbeatMs = Math.max(shortestHeartbeatMs, heartbeatMs || defaultHeartbeatMs);
    this.#nextHeartbeat();
    this.#scheduleReport(0);
    this.flush();
  }

  detach(): void {
    this.#heartbeat?.cancel();
    this.#report?.timer.cancel();
    this.#report = undefined;
    this.#outlet = undefined;
  }

  /** Something that a report shows has changed. */
  changed(): void {
    this.#scheduleReport(coalesceMs);
  }

  /** Sends the events that wait, as far as the outlet takes them. */
  flush(): void {
    while (this.#outlet?.writable) {
      const events = this.#options.events.take(this.#streams);
      if (events.length === 0) return;
      for (const event of events) this.#outlet.send({ $case: 'event', value: eventToProto(event) });
    }
  }

  #scheduleReport(inMs: number): void {
    if (!this.#outlet) return;
    const { clock } = this.#options;
    const dueMs = clock.monotonicMs() + inMs;
    if (this.#report && this.#report.dueMs <= dueMs) return;
    this.#report?.timer.cancel();
    this.#report = { dueMs, timer: clock.after(inMs, () => this.#sendReport()) };
  }

  #sendReport(): void {
    this.#report = undefined;
    if (this.#outlet?.writable) this.#outlet.send({ $case: 'report', value: reportToProto(this.#options.report()) });
    this.#scheduleReport(this.#outlet?.writable ? reportEveryMs : 1000);
    this.flush();
  }

  #nextHeartbeat(): void {
    const { clock, random } = this.#options;
    this.#heartbeat = clock.after(this.#heartbeatMs * (0.9 + 0.2 * random()), () => {
      this.#outlet?.send({ $case: 'heartbeat', value: { time: new Date(clock.nowMs()) } });
      this.flush();
      this.#nextHeartbeat();
    });
  }
}
