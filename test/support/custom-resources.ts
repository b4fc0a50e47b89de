import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { type Definition, serveDefinitions } from './custom-resource-server.ts';
import type { TestKubernetes } from './kubernetes.ts';
import { until } from './live.ts';

const definitionsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const probe: Definition & object = {
  metadata: { name: 'probes.probe.evercert.test' },
  spec: {
    group: 'probe.evercert.test',
    names: { kind: 'Probe', plural: 'probes', singular: 'probe' },
    versions: [{ name: 'v1', schema: { openAPIV3Schema: { type: 'object' } } }],
  },
};

/**
 * Whether custom resources live with this kube-apiserver. Kubernetes 1.20 that was built with Go 1.18 or later dies of the first one: its json-iterator reads maps in a way that Go has given up
 * (modern-go/reflect2 before 1.0.2). It is started again then.
 */
export async function servesCustomResources(kubernetes: TestKubernetes): Promise<boolean> {
  const { spec, ...rest } = probe;
  const versions = spec.versions.map((version) => ({ ...version, served: true, storage: true }));
  const definition = {
    ...rest,
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    spec: { ...spec, scope: 'Cluster', versions },
  };
  await kubernetes.ok('POST', definitionsPath, definition);
  const path = '/apis/probe.evercert.test/v1/probes';
  await until('the probe to be served', 20_000, async () => (await kubernetes.send('GET', path)).status === 200);
  try {
    await kubernetes.ok('POST', path, { apiVersion: 'probe.evercert.test/v1', kind: 'Probe', metadata: { name: 'probe' } });
    return true;
  } catch (error) {
    // Anything else than its death is an error of the test.
    await until('kube-apiserver to end', 10_000, () => !kubernetes.process('kube-apiserver').running).catch(() => {
      throw error;
    });
  }
  process.stderr.write('this kube-apiserver cannot serve custom resources: they are served behind it as an aggregated API\n');
  await kubernetes.restartApiServer();
  return false;
}

/** After the definitions of a file were found good by kube-apiserver: takes them away again, and serves them behind it. */
export async function serveInstead(kubernetes: TestKubernetes, file: string): Promise<{ close(): void }> {
  const definitions = parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS() as Definition);
  for (const { metadata, spec } of definitions) {
    await kubernetes.ok('DELETE', `${definitionsPath}/${metadata.name}`);
    const apiService = `/apis/apiregistration.k8s.io/v1/apiservices/${spec.versions[0]?.name}.${spec.group}`;
    await until(`${metadata.name} to be gone`, 30_000, async () => (await kubernetes.send('GET', apiService)).status === 404);
  }
  return serveDefinitions(kubernetes, definitions);
}
