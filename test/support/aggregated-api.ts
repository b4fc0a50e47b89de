/** What servers behind a kube-apiserver's aggregation have in common: answers in Kubernetes' form, merge patches, and how they are registered. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@evercert/shared/clock';
import type { TestKubernetes } from './kubernetes.ts';
import { until } from './live.ts';

export type Json = Record<string, unknown>;

export interface Outcome {
  status: number;
  body: object;
}

export interface AggregatedGroup {
  group: string;
  version: string;
  /** Names of resources that answer once it is served. */
  resources: readonly string[];
}

/** Registers the groups behind the API server, under a Service of this name, and serves them until `close`. */
export async function serveAggregated(
  kubernetes: TestKubernetes,
  name: string,
  groups: readonly AggregatedGroup[],
  listener: RequestListener,
): Promise<{ close(): void }> {
  const service = { namespace: 'kube-system', name };
  const { certificate, privateKey } = await kubernetes.pki.server(name, [`${name}.${service.namespace}.svc`]);
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(privateKey) }, listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  try {
    await register(kubernetes, { ...service, port: (server.address() as AddressInfo).port }, groups);
    return { close };
  } catch (error) {
    close();
    throw error;
  }
}

async function register(
  kubernetes: TestKubernetes,
  { port, ...service }: { namespace: string; name: string; port: number },
  groups: readonly AggregatedGroup[],
): Promise<void> {
  const spec = { type: 'ExternalName', externalName: 'localhost' };
  const path = `/api/v1/namespaces/${service.namespace}/services`;
  await kubernetes.ok('POST', path, { apiVersion: 'v1', kind: 'Service', metadata: service, spec });
  const caBundle = readFileSync(kubernetes.pki.caFile).toString('base64');
  for (const { group, version, resources } of groups) {
    await kubernetes.ok('POST', '/apis/apiregistration.k8s.io/v1/apiservices', {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: `${version}.${group}` },
      spec: { group, version, groupPriorityMinimum: 1000, versionPriority: 100, service: { ...service, port }, caBundle },
    });
    for (const resource of resources) {
      const served = async (): Promise<boolean> => (await kubernetes.send('GET', `/apis/${group}/${version}/${resource}`)).status === 200;
      await until(`${resource}.${group} to be served`, 30_000, served);
    }
  }
}

/** RFC 7386. */
export function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const merged: Json = typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = merge(merged[name], value);
  }
  return merged;
}

export function timestamp(): string {
  return new Date(systemClock.nowMs()).toISOString().replace(/\.\d+Z$/, 'Z');
}

export function ok(body: object): Outcome {
  return { status: 200, body };
}

export function refused(status: number, reason: string, message: string): Outcome {
  return { status, body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message, metadata: {} } };
}

export async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
