import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import type { ErrorCode } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { layout } from '../state/layout.ts';
import { type EventRecord, encodeRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';
import type { RenewalSource } from './renewal-log.ts';

export interface NewEvent {
  /** Absent: what belongs to no cluster. */
  cluster?: string;
  node?: string;
  /** `admin/NAME`, `node/CLUSTER/NAME`, `token/ID`, `coordinator` or `anonymous`. */
  actor: string;
  /** CamelCase, past tense: `CertificateIssued`. */
  reason: string;
  warning?: boolean;
  certificate?: string;
  serial?: string;
  message: string;
  errorCode?: ErrorCode;
  /** Set for what belongs to a node's renewal log. */
  source?: RenewalSource;
  /** By the clock of where it happened; absent: now. */
  timeMs?: number;
  /** Makes recording idempotent: an event with the same id overwrites itself. */
  id?: string;
}

/** The log of who did what, when, with what outcome. Events of a change are written in the change's own transaction. */
export class EventRecorder {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** An operation for the transaction that the event belongs to; also logs it. */
  operation(event: NewEvent): Operation {
    const record = this.#complete(event);
    this.#log(record);
    return { type: 'put', key: layout.event(record.cluster || layout.controlScope, record.id), value: encodeRecord(record) };
  }

  /** Writes an event on its own. A store that refuses it is logged: an event must not fail what it tells of. */
  record(event: NewEvent): void {
    this.#store.transact([], [this.operation(event)]).catch((error: unknown) => {
      this.#logger.error('cannot record an event', { reason: event.reason, error: String(error) });
    });
  }

  #complete(event: NewEvent): EventRecord {
    const timeMs = event.timeMs ?? this.#clock.nowMs();
    return {
      id: event.id ?? eventId(timeMs, randomBytes(5).toString('hex')),
      timeMs,
      cluster: event.cluster ?? '',
      node: event.node ?? '',
      actor: event.actor,
      reason: event.reason,
      type: event.warning ? 'Warning' : 'Normal',
      certificate: event.certificate ?? '',
      serial: event.serial ?? '',
      message: event.message,
      errorCode: event.errorCode ?? '',
      ...(event.source && { source: event.source }),
    };
  }

  #log({ type, message, cluster, node, actor, reason, certificate, serial, errorCode, source }: EventRecord): void {
    const fields = {
      ...(cluster && { cluster }),
      ...(node && { node }),
      ...(certificate && { certificate }),
      ...(serial && { serial }),
      ...(errorCode && { code: errorCode }),
      ...(source && { source }),
      actor,
      reason,
    };
    if (type === 'Warning') this.#logger.warn(message, fields);
    else this.#logger.info(message, fields);
  }
}

/** An id under which the same thing, told again and again by somebody outside, is one event a minute: nobody fills the store by being refused. */
export function oncePerMinute(nowMs: number, ...what: string[]): string {
  const minute = Math.floor(nowMs / 60_000) * 60_000;
  return eventId(minute, createHash('sha256').update(what.join('\0')).digest('hex').slice(0, 16));
}

/** Sorts by time as text; good until the year 2286, when milliseconds get a fourteenth digit. */
export function eventId(timeMs: number, unique: string): string {
  return `${String(Math.max(0, Math.trunc(timeMs))).padStart(13, '0')}-${unique}`;
}
