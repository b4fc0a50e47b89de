import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
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
  /** Of the call that it tells of: `/evercert.v1.AdminService/Apply`. */
  method?: string;
  /** Facts of the kind of event, for the audit log; never a secret. What is undefined or empty is left out; numbers and truth values are written as text. */
  details?: EventDetails;
}

export type EventDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** Of events that tell of calls, not of what came of them: lists of events leave them out unless they are asked for. */
export const callReason = 'AdminCall';

/** What one party outside can cause in a minute, by being refused again and again. Far above what a node with all its certificates has to tell. */
const maxOfOne = 100;
/** Parties whose minute is over are forgotten when there are so many. */
const maxParties = 1000;
const minuteMs = 60_000;

/** The log of who did what, when, with what outcome. Events of a change are written in the change's own transaction. */
export class EventRecorder {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #told = new Map<string, { minute: number; what: Set<string> }>();

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** An operation for the transaction that the event belongs to; also logs it. */
  operation(event: NewEvent): Operation & { type: 'put' } {
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

  /**
   * Writes an event that somebody outside can cause as often as he likes: the same thing (`what`) of the same party once a minute, and no more than a hundred different
   * things of one party in a minute, so that nobody fills the store, or keeps it busy, by being refused.
   */
  recordOncePerMinute(party: string, what: readonly string[], event: Omit<NewEvent, 'id' | 'timeMs'>): void {
    const minute = Math.floor(this.#clock.nowMs() / minuteMs);
    const key = createHash('sha256').update(what.join('\0')).digest('hex').slice(0, 16);
    if (!this.#isNews(party, key, minute)) return;
    // The id outlasts a restart of this process.
    const id = eventId(minute * minuteMs, createHash('sha256').update(`${party}\0${key}`).digest('hex').slice(0, 16));
    this.record({ ...event, id });
  }

  #isNews(party: string, key: string, minute: number): boolean {
    const known = this.#told.get(party);
    const told = known?.minute === minute ? known : { minute, what: new Set<string>() };
    if (told.what.has(key) || told.what.size >= maxOfOne) return false;
    told.what.add(key);
    if (this.#told.size >= maxParties) for (const [each, { minute: of }] of this.#told) if (of !== minute) this.#told.delete(each);
    this.#told.set(party, told);
    return true;
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
      ...(event.method && { method: event.method }),
      ...detailsOf(event.details),
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

/** An event is a part of a transaction: whatever somebody makes of its facts, it fits in. */
const maxDetailCharacters = 256 * 1024;

function detailsOf(details: EventDetails | undefined): { details?: Record<string, string> } {
  if (details === undefined) return {};
  const told: Record<string, string> = {};
  let characters = 0;
  for (const [name, value] of Object.entries(details)) {
    if (value === undefined || value === '') continue;
    const text = String(value);
    characters += text.length;
    if (characters > maxDetailCharacters)
      throw new EvercertError('InvalidArgument', `what an event tells has more than ${maxDetailCharacters} characters`);
    told[name] = text;
  }
  return { details: told };
}

/** Sorts by time as text; good until the year 2286, when milliseconds get a fourteenth digit. */
export function eventId(timeMs: number, unique: string): string {
  return `${String(Math.max(0, Math.trunc(timeMs))).padStart(13, '0')}-${unique}`;
}
