import { callReason } from '../events/recorder.ts';
import { activeCordon } from '../nodes/cordons.ts';
import type { FollowedHealth, NodeHealthState } from '../nodes/health/index.ts';
import type { NodeStatuses, NodeStatusView } from '../nodes/statuses.ts';
import type { ShownReplacements, ShownVerdict } from '../replacement/shown.ts';
import type { RevocationMatch, Revocations } from '../revocation/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import {
  type CertificateRecord,
  type CordonRecord,
  type CurrentRecord,
  decodeRecord,
  type EventRecord,
  type NodeRecord,
  type RevocationRecord,
} from '../state/records.ts';
import type { KeyValue, Store } from '../store/index.ts';

export interface Page {
  /** 0: the default. */
  size: number;
  /** Key after which it goes on; empty: from the beginning. */
  token: string;
}

export interface CertificateFilter {
  cluster: string;
  node: string;
  name: string;
  serial: string;
  includeSuperseded: boolean;
}

export interface EventFilter {
  cluster: string;
  node: string;
  certificate: string;
  reason: string;
  /** Only what belongs to a renewal log. */
  renewalLog: boolean;
}

export interface NodeView {
  record: NodeRecord;
  health: NodeHealthState;
  /** Undefined: it may be replaced. */
  cordon: CordonRecord | undefined;
  /** Undefined: it was never heard. */
  status: NodeStatusView | undefined;
  /** What was decided of its replacement; undefined: there is nothing to tell. */
  replacement: ShownVerdict | undefined;
}

export interface CertificateView {
  record: CertificateRecord;
  /** The newest of its name. */
  current: boolean;
  /** Entries that match it. */
  revokedBy: readonly RevocationMatch[];
}

export interface RevocationView {
  record: RevocationRecord;
  /** Certificates, not expired, that each entry matches, in the order of the entries. */
  matches: readonly number[];
  /** Renewals and issues that it has refused since the coordinator started. */
  refusals: number;
}

const maxPage = 1000;
/** Keys looked at for one page: a filter that matches little must not read the whole store in one call. */
const maxScan = 20_000;
const scanChunk = 500;
/** Entries told of one certificate. */
const maxRevokedBy = 10;

export interface QueriesOptions {
  store: Store;
  model: Model;
  health: Pick<FollowedHealth, 'of'>;
  statuses: NodeStatuses;
  revocations: Revocations;
  shown: Pick<ShownReplacements, 'verdictOf'>;
  nowMs: () => number;
}

/** What admins read. */
export class Queries {
  readonly #options: QueriesOptions;

  constructor(options: QueriesOptions) {
    this.#options = options;
  }

  node(record: NodeRecord): NodeView {
    const { health, statuses, shown, nowMs } = this.#options;
    const status = statuses.get(record.cluster, record.name);
    const replacement = shown.verdictOf(record);
    return { record, health: health.of(record), cordon: activeCordon(record, nowMs()), status, replacement };
  }

  async certificates(filter: CertificateFilter, page: Page): Promise<{ items: CertificateView[]; next: string }> {
    const current = await this.#currentSerials(filter);
    const matches = (record: CertificateRecord): boolean =>
      (filter.node === '' || record.node === filter.node) &&
      (filter.name === '' || record.name === filter.name) &&
      (filter.serial === '' || record.serial === filter.serial) &&
      (filter.includeSuperseded || filter.serial !== '' || current.has(`${record.cluster}/${record.serial}`));
    const prefix = filter.cluster === '' ? layout.certificates : layout.certificatesOf(filter.cluster);
    const { items, next } = await this.#scan<CertificateRecord>(prefix, page, 500, false, matches);
    return { items: items.map((record) => this.#viewOf(record, current.has(`${record.cluster}/${record.serial}`))), next };
  }

  /** A stored certificate as a watch sees it: the newest of its name at that moment. */
  certificateOf({ key, value }: KeyValue): CertificateView {
    return this.#viewOf(decodeRecord<CertificateRecord>(key, value), true);
  }

  /** Objects with the number of certificates, not expired, that each of their entries matches. Empty: all clusters, all names. */
  async revocations(cluster: string, name: string): Promise<RevocationView[]> {
    const { revocations } = this.#options;
    const records = revocations.list(cluster).filter((record) => name === '' || record.name === name);
    const counts = new Map<string, number>();
    for (const of of new Set(records.map((record) => record.cluster))) {
      for await (const certificate of revocations.live(of)) {
        for (const { object, entry } of revocations.matchIssued(certificate)) {
          const key = `${of}/${object}/${entry}`;
          counts.set(key, (counts.get(key) ?? 0) + 1);
        }
      }
    }
    return records.map((record) => ({
      record,
      matches: record.entries.map((_, entry) => counts.get(`${record.cluster}/${record.name}/${entry}`) ?? 0),
      refusals: revocations.refusalsOf(record.cluster, record.name),
    }));
  }

  /** Newest first within a cluster. */
  async events(filter: EventFilter, page: Page): Promise<{ items: EventRecord[]; next: string }> {
    const matches = (event: EventRecord): boolean =>
      (filter.node === '' || event.node === filter.node) &&
      (filter.certificate === '' || event.certificate === filter.certificate) &&
      (filter.reason === '' ? event.reason !== callReason : event.reason === filter.reason) &&
      (!filter.renewalLog || event.source !== undefined);
    if (filter.cluster !== '') {
      return this.#scan<EventRecord>(layout.eventsOf(filter.cluster), page, 100, true, matches);
    }
    return this.#eventsOfAll(matches, page);
  }

  /** Of all clusters and of none: merged by time, without further pages. */
  async #eventsOfAll(matches: (event: EventRecord) => boolean, { size }: Page): Promise<{ items: EventRecord[]; next: string }> {
    const scopes = [layout.controlScope, ...this.#options.model.clusters.list().map(({ name }) => name)];
    const all: EventRecord[] = [];
    for (const scope of scopes) {
      const { items } = await this.#scan<EventRecord>(layout.eventsOf(scope), { size, token: '' }, 100, true, matches);
      all.push(...items);
    }
    all.sort((a, b) => b.timeMs - a.timeMs);
    return { items: all.slice(0, pageSize(size, 100)), next: '' };
  }

  #viewOf(record: CertificateRecord, current: boolean): CertificateView {
    return { record, current, revokedBy: this.#options.revocations.matchIssued(record).slice(0, maxRevokedBy) };
  }

  async #currentSerials({ cluster, node }: CertificateFilter): Promise<Set<string>> {
    const clusters = cluster === '' ? [layout.controlScope, ...this.#options.model.clusters.list().map(({ name }) => name)] : [cluster];
    const serials = new Set<string>();
    for (const name of clusters) {
      const { entries } = await this.#options.store.range({ prefix: layout.currents(name, node || undefined) });
      for (const { key, value } of entries) serials.add(`${name}/${decodeRecord<CurrentRecord>(key, value).serial}`);
    }
    return serials;
  }

  async #scan<T extends object>(
    prefix: string,
    page: Page,
    defaultSize: number,
    reverse: boolean,
    matches: (record: T) => boolean,
  ): Promise<{ items: T[]; next: string }> {
    const wanted = pageSize(page.size, defaultSize);
    const items: T[] = [];
    let after = page.token;
    for (let scanned = 0; scanned < maxScan; ) {
      const { entries, more } = await this.#options.store.range({ prefix, reverse, limit: scanChunk, ...(after && { after }) });
      for (const [index, entry] of entries.entries()) {
        after = entry.key;
        const record = decodeRecord<T>(entry.key, entry.value);
        if (matches(record)) items.push(record);
        if (items.length === wanted) return { items, next: more || index < entries.length - 1 ? after : '' };
      }
      if (!more) return { items, next: '' };
      scanned += entries.length;
    }
    return { items, next: after };
  }
}

function pageSize(given: number, fallback: number): number {
  return given <= 0 ? fallback : Math.min(given, maxPage);
}
