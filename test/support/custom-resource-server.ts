/**
 * Serves the objects of CustomResourceDefinitions behind a real kube-apiserver, as an aggregated API does (https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/):
 * for builds of kube-apiserver that die of custom resources. Callers are authenticated and authorized by kube-apiserver; what is kept here behaves by the definition: schema, pruning, status
 * subresource, generations, printer columns, watches.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock } from '@evercert/shared/clock';
import { type Json, merge, type Outcome, ok, refused, serveAggregated, textOf, timestamp } from './aggregated-api.ts';
import { faultsOf, prune, type Schema } from './custom-resource-schema.ts';
import type { TestKubernetes } from './kubernetes.ts';

export interface Definition {
  metadata: { name: string };
  spec: {
    group: string;
    names: { kind: string; plural: string; singular: string; shortNames?: string[]; categories?: string[] };
    versions: {
      name: string;
      additionalPrinterColumns?: { name: string; type: string; jsonPath: string; priority?: number }[];
      schema: { openAPIV3Schema: Schema };
    }[];
  };
}

interface Stored extends Json {
  metadata: Json & { name: string; namespace: string; uid: string; resourceVersion: string; generation: number; creationTimestamp: string };
}
interface Change {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  version: number;
  object: Stored;
}
interface Target {
  resource: Resource;
  namespace: string | undefined;
  name: string | undefined;
  isStatus: boolean;
}

/** Registers the definitions' groups and serves them until `close`. */
export function serveDefinitions(kubernetes: TestKubernetes, definitions: readonly Definition[]): Promise<{ close(): void }> {
  const resources = definitions.map((definition) => new Resource(definition));
  const groups = resources.map(({ group, version, plural }) => ({ group, version, resources: [plural] }));
  return serveAggregated(kubernetes, 'custom-resources', groups, (request, response) => {
    void answer(resources, request, response);
  });
}

async function answer(resources: readonly Resource[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '', 'https://localhost');
  const [, group, version, namespace, plural, name, subresource] =
    /^\/apis\/([^/]+)\/([^/]+)(?:\/namespaces\/([^/]+))?(?:\/([a-z]+))?(?:\/([^/]+))?(?:\/(status))?$/.exec(url.pathname) ?? [];
  const resource = resources.find((each) => each.group === group && each.version === version);
  const end = ({ status, body }: Outcome): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  if (resource === undefined) return end(refused(404, 'NotFound', `${url.pathname} is not served`));
  if (plural === undefined) return end(ok(resource.discovery()));
  if (plural !== resource.plural) return end(refused(404, 'NotFound', `${url.pathname} is not served`));
  if (url.searchParams.get('watch') === 'true') return resource.watch(url.searchParams, namespace, response);
  const text = await textOf(request);
  const body = text === '' ? {} : (JSON.parse(text) as Json);
  const target = { resource, namespace, name, isStatus: subresource === 'status' };
  const outcome = resource.call(request.method ?? 'GET', target, url.searchParams, body);
  const wantsTable = request.method === 'GET' && (request.headers.accept ?? '').includes('as=Table');
  return end(wantsTable && outcome.status === 200 ? ok(resource.table(outcome.body)) : outcome);
}

class Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly #definition: Definition['spec'];
  readonly #schema: Schema;
  readonly #objects = new Map<string, Stored>();
  readonly #changes: Change[] = [];
  readonly #watchers = new Set<(change: Change) => void>();
  #version = 1;

  constructor({ spec }: Definition) {
    const [version] = spec.versions;
    if (!version) throw new Error(`${spec.group} has no version`);
    this.group = spec.group;
    this.version = version.name;
    this.plural = spec.names.plural;
    this.#definition = spec;
    this.#schema = version.schema.openAPIV3Schema;
  }

  discovery(): object {
    const { names } = this.#definition;
    const { kind, plural: name, singular: singularName, shortNames, categories } = names;
    const verbs = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];
    const main = { name, singularName, namespaced: true, kind, verbs, shortNames, categories };
    const status = { name: `${name}/status`, singularName: '', namespaced: true, kind, verbs: ['get', 'patch', 'update'] };
    return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: `${this.group}/${this.version}`, resources: [main, status] };
  }

  call(method: string, { namespace, name, isStatus }: Target, query: URLSearchParams, body: Json): Outcome {
    const isDryRun = query.get('dryRun') === 'All';
    if (name === undefined) {
      if (method === 'POST') return this.#create(namespace ?? '', body, isDryRun);
      return ok(this.#list([...this.#objects.values()].filter((object) => selected(object, query, namespace))));
    }
    const key = `${namespace}/${decodeURIComponent(name)}`;
    const object = this.#objects.get(key);
    if (object === undefined) return refused(404, 'NotFound', `${this.plural}.${this.group} "${name}" not found`);
    if (method === 'PATCH') return this.#update(key, object, merge(object, body) as Stored, isStatus);
    if (method === 'PUT') return this.#update(key, object, body as Stored, isStatus);
    if (method === 'DELETE') this.#put(key, object, 'DELETED');
    return ok(object);
  }

  watch(query: URLSearchParams, namespace: string | undefined, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const tell = ({ type, object }: Change): void => {
      if (selected(object, query, namespace)) response.write(`${JSON.stringify({ type, object })}\n`);
    };
    const from = Number(query.get('resourceVersion') ?? 0);
    for (const change of this.#changes) if (change.version > from) tell(change);
    this.#watchers.add(tell);
    const timer = systemClock.after(Number(query.get('timeoutSeconds') ?? 300) * 1000, () => response.end());
    response.on('close', () => {
      timer.cancel();
      this.#watchers.delete(tell);
    });
  }

  /** https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables */
  table(body: object): object {
    const items = 'items' in body ? (body.items as Stored[]) : [body as Stored];
    const columns = this.#definition.versions[0]?.additionalPrinterColumns ?? [];
    const cells = (object: Stored): unknown[] => columns.map(({ jsonPath, type }) => cellOf(at(object, jsonPath), type));
    return {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { resourceVersion: String(this.#version) },
      columnDefinitions: [
        { name: 'Name', type: 'string', format: 'name', priority: 0 },
        ...columns.map((column) => ({ priority: 0, ...column })),
      ],
      rows: items.map((object) => ({
        cells: [object.metadata.name, ...cells(object)],
        object: { ...object, kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' },
      })),
    };
  }

  #list(items: readonly Stored[]): object {
    return {
      kind: `${this.#definition.names.kind}List`,
      apiVersion: `${this.group}/${this.version}`,
      metadata: { resourceVersion: String(this.#version) },
      items,
    };
  }

  #create(namespace: string, body: Json, isDryRun: boolean): Outcome {
    const { status: _status, metadata, ...rest } = body as Json & { metadata: Json };
    const name = String(metadata['name']);
    const key = `${namespace}/${name}`;
    if (this.#objects.has(key)) return refused(409, 'AlreadyExists', `${this.plural}.${this.group} "${name}" already exists`);
    const made = { namespace, uid: randomUUID(), creationTimestamp: timestamp(), generation: 1, resourceVersion: '' };
    const object = this.#pruned({ ...rest, metadata: { ...metadata, ...made } } as unknown as Stored);
    const invalid = this.#invalid(object);
    if (invalid) return invalid;
    return { status: 201, body: isDryRun ? object : this.#put(key, object, 'ADDED') };
  }

  #update(key: string, before: Stored, wanted: Stored, isStatus: boolean): Outcome {
    const { resourceVersion, uid } = wanted.metadata;
    const conflicts = resourceVersion !== before.metadata.resourceVersion || uid !== before.metadata.uid;
    if (conflicts)
      return refused(409, 'Conflict', `Operation cannot be fulfilled on ${this.plural}.${this.group} "${before.metadata.name}"`);
    const after = this.#pruned(isStatus ? { ...before, status: wanted['status'] } : { ...wanted, status: before['status'] });
    const invalid = this.#invalid(after);
    if (invalid) return invalid;
    const { namespace, name, creationTimestamp, generation } = before.metadata;
    const isSame = JSON.stringify(after['spec']) === JSON.stringify(before['spec']);
    const metadata = { ...after.metadata, namespace, name, uid, creationTimestamp, generation: isSame ? generation : generation + 1 };
    return ok(this.#put(key, { ...after, metadata }, 'MODIFIED'));
  }

  #put(key: string, object: Stored, type: Change['type']): Stored {
    this.#version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    if (type === 'DELETED') this.#objects.delete(key);
    else this.#objects.set(key, stored);
    const change = { type, version: this.#version, object: stored };
    this.#changes.push(change);
    for (const watcher of this.#watchers) watcher(change);
    return stored;
  }

  #pruned(object: Stored): Stored {
    const { metadata, ...rest } = object;
    return { ...(prune(rest, this.#schema) as Json), metadata };
  }

  #invalid(object: Stored): Outcome | undefined {
    const faults = faultsOf(object, this.#schema);
    const what = `${this.#definition.names.kind}.${this.group} "${object.metadata.name}" is invalid`;
    return faults.length === 0 ? undefined : refused(422, 'Invalid', `${what}: ${faults.join(', ')}`);
  }
}

function selected({ metadata }: Stored, query: URLSearchParams, namespace: string | undefined): boolean {
  const name = /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
  return (namespace === undefined || metadata.namespace === namespace) && (name === undefined || metadata.name === name);
}

/** `.status.entries` */
function at(object: unknown, path: string): unknown {
  return path
    .split('.')
    .slice(1)
    .reduce<unknown>((value, name) => (value as Json | undefined)?.[name], object);
}

function cellOf(value: unknown, type: string): unknown {
  if (type !== 'date') return value ?? null;
  const seconds = Math.max(0, Math.floor((systemClock.nowMs() - Date.parse(String(value))) / 1000));
  return seconds < 120 ? `${seconds}s` : `${Math.floor(seconds / 60)}m`;
}
