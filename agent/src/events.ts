/** What happened on this node and the coordinator should record: a bounded queue that outlives a lost connection. */
import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { FileFault } from './files/types.ts';

export interface NewEvent {
  /** CamelCase, as Kubernetes' event reasons. */
  reason: string;
  type: 'Normal' | 'Warning';
  message: string;
  certificate?: string;
  serial?: string;
  errorCode?: string;
}

export interface RecordedEvent extends NewEvent {
  id: string;
  atMs: number;
}

export interface EventSink {
  record(event: NewEvent): void;
}

const maxQueued = 512;
/** An event counts as delivered when the stream that carried it has lived on for so long; before that it is sent again on the next stream. */
const settleMs = 10_000;

interface Queued {
  event: RecordedEvent;
  sent?: { stream: number; atMonotonicMs: number };
}

export interface EventQueueOptions {
  clock: Clock;
  logger: Logger;
  newId: () => string;
}

export class EventQueue implements EventSink {
  readonly #options: EventQueueOptions;
  #queue: Queued[] = [];
  #dropped = 0;
  #listener: () => void = () => {};

  constructor(options: EventQueueOptions) {
    this.#options = options;
  }

  /** Called after each new event. */
  onEvent(listener: () => void): void {
    this.#listener = listener;
  }

  record(event: NewEvent): void {
    const { clock, logger, newId } = this.#options;
    const { reason, type, message, certificate, serial, errorCode } = event;
    const fields = {
      reason,
      ...(certificate !== undefined && { certificate }),
      ...(serial !== undefined && { serial }),
      ...(errorCode !== undefined && { code: errorCode }),
    };
    logger[type === 'Warning' ? 'warn' : 'info'](message, fields);
    this.#queue.push({ event: { ...event, message: message.slice(0, 2000), id: newId(), atMs: clock.nowMs() } });
    if (this.#queue.length > maxQueued) {
      this.#queue.shift();
      this.#dropped += 1;
      if (this.#dropped === 1)
        logger.warn('Events wait for the coordinator and the queue is full; the oldest are dropped', { limit: maxQueued });
    }
    this.#listener();
  }

  /** Events that the stream of this number has not carried yet, oldest first, at most `limit`; they count as sent from now. */
  take(stream: number, limit = 32): RecordedEvent[] {
    const now = this.#options.clock.monotonicMs();
    this.#queue = this.#queue.filter(({ sent }) => !(sent?.stream === stream && now - sent.atMonotonicMs > settleMs));
    const due = this.#queue.filter(({ sent }) => sent?.stream !== stream).slice(0, limit);
    for (const entry of due) entry.sent = { stream, atMonotonicMs: now };
    return due.map(({ event }) => event);
  }

  /** Events kept here, sent or not. */
  get size(): number {
    return this.#queue.length;
  }

  get dropped(): number {
    return this.#dropped;
  }
}

/** The event for one file that was put right. */
export function mendedEvent(fault: FileFault, certificate: string, serial?: string): NewEvent {
  const reasons: Partial<Record<FileFault['reason'], string>> = { WrongMode: 'FileModeFixed', WrongOwner: 'FileOwnerFixed' };
  return {
    reason: reasons[fault.reason] ?? 'FileRestored',
    type: 'Warning',
    certificate,
    message: `${fault.path} was put right (${fault.reason}: ${fault.message})`,
    ...(serial === undefined ? {} : { serial }),
  };
}
