import { type Certificate, ChangeType, type WatchRequest, type WatchResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { callReason } from '../events/recorder.ts';
import type { KubernetesBridges } from '../kubernetes/index.ts';
import type { FollowedHealth } from '../nodes/health/index.ts';
import type { Queries } from '../queries/queries.ts';
import type { ReplacementRecords } from '../replacement/records.ts';
import type { ShownReplacements } from '../replacement/shown.ts';
import type { Revocations } from '../revocation/index.ts';
import type { Change, Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { decodeRecord, type EventRecord } from '../state/records.ts';
import type { KeyValue, Store, WatchOptions } from '../store/index.ts';
import {
  certificateToProto,
  clusterToProto,
  eventToProto,
  manifestToProto,
  nodeToProto,
  revocationToProto,
  tokenToProto,
} from './convert.ts';
import { replacementToProto } from './convert-replacement.ts';
import type { CallContext } from './guard.ts';

type WatchObject = NonNullable<WatchResponse['object']>;
type Send = (type: ChangeType, object?: WatchObject) => void;

/** Changes that wait for a slow reader; beyond, the watch is ended and the reader begins anew. */
const maxWaiting = 10_000;
/** How far back a watch of events begins. */
const recentEvents = 100;

export interface WatchSources {
  store: Store;
  model: Model;
  health: Pick<FollowedHealth, 'subscribe'>;
  queries: Queries;
  revocations: Revocations;
  shown: Pick<ShownReplacements, 'subscribe'>;
  replacementRecords: ReplacementRecords;
  bridges: Pick<KubernetesBridges, 'statusOf'>;
}

const resources = ['clusters', 'nodes', 'certificates', 'manifests', 'revocations', 'tokens', 'events', 'replacements'] as const;
type Resource = (typeof resources)[number];

/** Sends what is there, then what changes, until the reader goes. */
export async function watch(
  call: ServerWritableStream<WatchRequest, WatchResponse>,
  context: CallContext,
  sources: WatchSources,
): Promise<void> {
  const wanted = new Set(call.request.resources.map(asResource));
  const { cluster } = call.request;
  const stops: (() => void)[] = [];
  const done = new AbortController();
  context.signal.addEventListener('abort', () => done.abort(), { once: true });
  let waiting = 0;
  const send: Send = (type, object) => {
    if (done.signal.aborted) return;
    if (waiting++ > maxWaiting) done.abort();
    call.write({ type, object }, () => {
      waiting -= 1;
    });
  };
  try {
    const { model, bridges } = sources;
    if (wanted.has('clusters')) {
      stops.push(follow(model.clusters, '', send, (c) => ({ $case: 'cluster', value: clusterToProto(c, bridges.statusOf(c.name)) })));
    }
    if (wanted.has('nodes')) stops.push(...followNodes(sources, cluster, send));
    if (wanted.has('manifests')) {
      stops.push(
        follow(model.manifests, cluster, send, (m) => ({ $case: 'manifest', value: manifestToProto(m, model.nodesOf(m.cluster)) })),
      );
    }
    if (wanted.has('tokens')) {
      stops.push(
        follow(
          model.tokens,
          '',
          send,
          (t) => ({ $case: 'token', value: tokenToProto(t) }),
          (t) => cluster === '' || t.cluster === cluster,
        ),
      );
    }
    if (wanted.has('replacements')) {
      stops.push(
        follow(sources.replacementRecords.informer, cluster, send, (r) => ({ $case: 'replacement', value: replacementToProto(r) })),
      );
    }
    const follows: Promise<void>[] = [];
    const failures: Promise<never>[] = [];
    if (wanted.has('revocations')) {
      const { stop, failed } = await followRevocations(sources, cluster, send);
      stops.push(stop);
      failures.push(failed);
    }
    if (wanted.has('certificates')) follows.push((await followCertificates(sources, cluster, send, done.signal)).over);
    if (wanted.has('events')) follows.push((await followEvents(sources, cluster, send, done.signal)).over);
    send(ChangeType.SYNCED);
    const over = new Promise((resolve) => done.signal.addEventListener('abort', resolve, { once: true }));
    await Promise.race([Promise.all([...follows, over]), ...failures]);
    if (!context.signal.aborted)
      throw new EvercertError('Overloaded', 'the reader is too slow: begin the watch anew', { retryAfterMs: 1000 });
  } finally {
    done.abort();
    for (const stop of stops) stop();
  }
}

function asResource(name: string): Resource {
  const found = resources.find((resource) => resource === name);
  if (!found) throw new EvercertError('InvalidArgument', `resources: expected some of ${resources.join(', ')}, not "${name.slice(0, 40)}"`);
  return found;
}

function follow<T extends object>(
  informer: Informer<T>,
  cluster: string,
  send: Send,
  convert: (record: T) => WatchObject,
  matches: (record: T) => boolean = () => true,
): () => void {
  const prefix = cluster === '' ? informer.prefix : `${informer.prefix}${cluster}/`;
  for (const record of informer.list(prefix)) if (matches(record)) send(ChangeType.ADDED, convert(record));
  return informer.subscribe((change: Change<T>) => {
    if (!change.key.startsWith(prefix)) return;
    if (change.type === 'delete') {
      if (matches(change.previous)) send(ChangeType.DELETED, convert(change.previous));
    } else if (matches(change.record)) {
      send(change.previous ? ChangeType.MODIFIED : ChangeType.ADDED, convert(change.record));
    }
  });
}

/** A node changes with its record, with its reports, with what is decided of its replacement, and by time alone. */
function followNodes(sources: WatchSources, cluster: string, send: Send): (() => void)[] {
  const { model, health, queries, shown, replacementRecords } = sources;
  const changed = (ofCluster: string, name: string): void => {
    const record = model.node(ofCluster, name);
    if (record && (cluster === '' || ofCluster === cluster))
      send(ChangeType.MODIFIED, { $case: 'node', value: nodeToProto(queries.node(record)) });
  };
  return [
    follow(model.nodes, cluster, send, (node) => ({ $case: 'node', value: nodeToProto(queries.node(node)) })),
    health.subscribe(changed),
    shown.subscribe(changed),
    replacementRecords.informer.subscribe((change) => {
      const { cluster: of, node, newNode } = change.type === 'put' ? change.record : change.previous;
      for (const name of new Set([node, newNode])) changed(of, name);
    }),
  ];
}

/** Objects with what they match, which has to be counted first: one after the other, so that what was sent last is the newest. Fails when the store does. */
async function followRevocations(
  { revocations, queries }: WatchSources,
  cluster: string,
  send: Send,
): Promise<{ stop: () => void; failed: Promise<never> }> {
  const failure = Promise.withResolvers<never>();
  // The watch waits for it once everything is followed; a failure before that must not end the process.
  failure.promise.catch(() => {});
  let last: Promise<void> = Promise.resolve();
  const stop = revocations.objects.subscribe((change) => {
    const { cluster: of, name } = change.type === 'put' ? change.record : change.previous;
    if (cluster !== '' && of !== cluster) return;
    const tell = async (): Promise<void> => {
      if (change.type === 'delete')
        send(ChangeType.DELETED, { $case: 'revocation', value: revocationToProto({ record: change.previous, matches: [], refusals: 0 }) });
      else {
        const type = change.previous ? ChangeType.MODIFIED : ChangeType.ADDED;
        for (const view of await queries.revocations(of, name)) send(type, { $case: 'revocation', value: revocationToProto(view) });
      }
    };
    last = last.then(tell).catch(failure.reject);
  });
  for (const view of await queries.revocations(cluster, ''))
    send(ChangeType.ADDED, { $case: 'revocation', value: revocationToProto(view) });
  return { stop, failed: failure.promise };
}

async function followCertificates({ store, queries }: WatchSources, cluster: string, send: Send, signal: AbortSignal): Promise<Following> {
  const prefix = cluster ? layout.certificatesOf(cluster) : layout.certificates;
  const from = await revisionOf(store, prefix);
  const sent = new Set<string>();
  for await (const value of allCertificates(queries, cluster)) {
    sent.add(value.serial);
    send(ChangeType.ADDED, { $case: 'certificate', value });
  }
  return followStore(store, { prefix, fromRevision: from + 1, signal }, (entry) => {
    const value = certificateToProto(queries.certificateOf(entry));
    if (!sent.delete(value.serial)) send(ChangeType.ADDED, { $case: 'certificate', value });
  });
}

async function followEvents({ store, queries }: WatchSources, cluster: string, send: Send, signal: AbortSignal): Promise<Following> {
  const prefix = cluster ? layout.eventsOf(cluster) : layout.events;
  const from = await revisionOf(store, prefix);
  const { items } = await queries.events(
    { cluster, node: '', certificate: '', reason: '', renewalLog: false },
    { size: recentEvents, token: '' },
  );
  const sent = new Set(items.map(({ id }) => id));
  for (const event of items.reverse()) send(ChangeType.ADDED, { $case: 'event', value: eventToProto(event) });
  return followStore(store, { prefix, fromRevision: from + 1, signal }, ({ key, value }) => {
    const event = decodeRecord<EventRecord>(key, value);
    if (!sent.delete(event.id) && event.reason !== callReason) send(ChangeType.ADDED, { $case: 'event', value: eventToProto(event) });
  });
}

/** Where a watch begins that must miss nothing of what is listed after this; what both tell is told once. */
async function revisionOf(store: Store, prefix: string): Promise<number> {
  return (await store.range({ prefix, limit: 1 })).revision;
}

async function* allCertificates(queries: Queries, cluster: string): AsyncIterable<Certificate> {
  for (let token = ''; ; ) {
    const filter = { cluster, node: '', name: '', serial: '', includeSuperseded: false };
    const { items, next } = await queries.certificates(filter, { size: 1000, token });
    yield* items.map(certificateToProto);
    if (next === '') return;
    token = next;
  }
}

/** Something followed in the store; `over` resolves with the signal and fails with the store. */
interface Following {
  over: Promise<void>;
}

function followStore(store: Store, options: WatchOptions, put: (entry: KeyValue) => void): Following {
  const follow = async (): Promise<void> => {
    for await (const batch of store.watch(options)) {
      for (const { entry } of batch) if (entry) put(entry);
    }
  };
  const over = follow();
  // The watch waits for it once everything is followed; a failure before that must not end the process.
  over.catch(() => {});
  return { over };
}
