/**
 * Serves Cluster API's objects and our own behind a real kube-apiserver, as an aggregated API does (https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/): for
 * builds of kube-apiserver that cannot serve custom resources. Callers are authenticated and authorized by kube-apiserver; what is kept here behaves as a custom resource with a status
 * subresource does: resource versions, merge patches, finalizers, preconditions.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Json, merge, type Outcome, ok, refused, serveAggregated, textOf, timestamp } from './aggregated-api.ts';
import type { TestKubernetes } from './kubernetes.ts';

/** Kinds by the names of their resources, by group and version. */
const groups: Record<string, Record<string, string>> = {
  'cluster.x-k8s.io/v1beta1': { clusters: 'Cluster', machines: 'Machine', machinesets: 'MachineSet' },
  'bootstrap.evercert.io/v1alpha1': { evercertconfigs: 'EvercertConfig' },
};

interface Stored extends Json {
  metadata: Json & {
    deletionTimestamp?: string;
    name: string;
    uid: string;
    resourceVersion: string;
    finalizers?: string[];
    labels?: Record<string, string>;
  };
}

/** Registers the groups and serves them until `close`. */
export function serveClusterApi(kubernetes: TestKubernetes): Promise<{ close(): void }> {
  const objects = new Objects();
  const served = Object.entries(groups).map(([groupVersion, kinds]) => {
    const [group = '', version = ''] = groupVersion.split('/');
    return { group, version, resources: Object.keys(kinds).slice(0, 1) };
  });
  return serveAggregated(kubernetes, 'cluster-api', served, (request, response) => {
    void (async () => {
      const { status, body } = await objects.answer(request);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    })();
  });
}

class Objects {
  readonly #objects = new Map<string, Stored>();
  #version = 0;

  async answer(request: IncomingMessage): Promise<Outcome> {
    const url = new URL(request.url ?? '', 'https://localhost');
    const [, groupVersion = '', namespace, resource, name, subresource] =
      /^\/apis\/([^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?(?:\/([a-z]+))?(?:\/([^/]+))?(?:\/(status))?$/.exec(url.pathname) ?? [];
    const kinds = groups[groupVersion];
    if (kinds !== undefined && resource === undefined) return ok(discovery(groupVersion, kinds));
    const kind = kinds?.[resource ?? ''];
    if (kind === undefined || resource === undefined) return refused(404, 'NotFound', `${url.pathname} is not served`);
    const text = await textOf(request);
    const body = text === '' ? {} : (JSON.parse(text) as Json);
    if (name === undefined) {
      if (request.method === 'POST') return this.#create(namespace ?? '', resource, body);
      const items = this.#list(namespace, resource, url.searchParams.get('labelSelector') ?? '');
      return ok({ kind: `${kind}List`, apiVersion: groupVersion, metadata: { resourceVersion: String(this.#version) }, items });
    }
    const key = `${namespace}/${resource}/${decodeURIComponent(name)}`;
    const object = this.#objects.get(key);
    if (object === undefined) return refused(404, 'NotFound', `${resource} "${name}" not found`);
    if (request.method === 'PATCH') return this.#patch(key, object, body, subresource === 'status');
    if (request.method === 'DELETE') return this.#delete(key, object, body);
    return ok(object);
  }

  #create(namespace: string, resource: string, body: Json): Outcome {
    const metadata = body['metadata'] as Json;
    const name = String(metadata['name']);
    const key = `${namespace}/${resource}/${name}`;
    if (this.#objects.has(key)) return refused(409, 'AlreadyExists', `${resource} "${name}" already exists`);
    const { status: _, ...rest } = body;
    const made = { name, namespace, uid: randomUUID(), creationTimestamp: timestamp() };
    return { ...ok(this.#put(key, { ...rest, metadata: { ...metadata, ...made, resourceVersion: '' } })), status: 201 };
  }

  #list(namespace: string | undefined, resource: string, selector: string): Stored[] {
    const wanted = selector
      .split(',')
      .filter((term) => term !== '')
      .map((term) => term.split('='));
    return [...this.#objects]
      .filter(([key]) => key.includes(`/${resource}/`) && (namespace === undefined || key.startsWith(`${namespace}/`)))
      .map(([, object]) => object)
      .filter(({ metadata }) => wanted.every(([label = '', value]) => metadata.labels?.[label] === value));
  }

  #patch(key: string, object: Stored, body: Json, status: boolean): Outcome {
    const { resourceVersion, ...change } = (body['metadata'] ?? {}) as Json;
    const { uid, name, namespace, creationTimestamp, deletionTimestamp } = object.metadata;
    if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion)
      return refused(409, 'Conflict', `Operation cannot be fulfilled on "${name}": the object has been modified`);
    const merged = merge(object, status ? { status: body['status'] } : { ...body, metadata: change, status: {} }) as Stored;
    const fixed = { uid, name, namespace, creationTimestamp, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) };
    return ok(this.#put(key, { ...merged, metadata: { ...merged.metadata, ...fixed } }));
  }

  #delete(key: string, object: Stored, { preconditions }: Json): Outcome {
    const { uid, finalizers = [], deletionTimestamp } = object.metadata;
    const wanted = (preconditions as Json | undefined)?.['uid'];
    if (wanted !== undefined && wanted !== uid)
      return refused(409, 'Conflict', `Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${uid}`);
    if (finalizers.length > 0 && deletionTimestamp === undefined)
      return ok(this.#put(key, { ...object, metadata: { ...object.metadata, deletionTimestamp: timestamp() } }));
    if (finalizers.length === 0) this.#objects.delete(key);
    return ok(object);
  }

  /** An object that is being deleted is gone with its last finalizer. */
  #put(key: string, object: Stored): Stored {
    this.#version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    const { deletionTimestamp, finalizers = [] } = stored.metadata;
    if (deletionTimestamp !== undefined && finalizers.length === 0) this.#objects.delete(key);
    else this.#objects.set(key, stored);
    return stored;
  }
}

function discovery(groupVersion: string, kinds: Record<string, string>): object {
  const verbs = ['create', 'delete', 'get', 'list', 'patch'];
  const resources = Object.entries(kinds).map(([name, kind]) => ({
    name,
    kind,
    singularName: kind.toLowerCase(),
    namespaced: true,
    verbs,
  }));
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources };
}
