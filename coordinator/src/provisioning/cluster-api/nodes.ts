import { type KubernetesApi, unlessMissing } from '../../kubernetes/core/index.ts';
import { annotationOf, cordonAnnotation, type NodeObject } from './objects.ts';

function path(name: string): string {
  return `/api/v1/nodes/${encodeURIComponent(name)}`;
}

export function readNode(api: KubernetesApi, name: string): Promise<NodeObject | undefined> {
  return unlessMissing(api.send<NodeObject>({ method: 'GET', path: path(name) }));
}

/** Marks the Node as unschedulable and signs the mark, so that only our own is taken back. */
export async function cordonNode(api: KubernetesApi, name: string, replacementId: string): Promise<string> {
  const node = await readNode(api, name);
  if (node === undefined) return `there is no Node ${name}`;
  if (node.spec?.unschedulable) return `Node ${name} was cordoned already`;
  await change(api, node, { annotations: { [cordonAnnotation]: replacementId }, unschedulable: true });
  return `Node ${name} is cordoned`;
}

export async function uncordonNode(api: KubernetesApi, name: string, replacementId: string): Promise<string> {
  const node = await readNode(api, name);
  if (node === undefined) return `there is no Node ${name}`;
  if (annotationOf(node, cordonAnnotation) !== replacementId)
    return `Node ${name} was not cordoned by this replacement and is left as it is`;
  await change(api, node, { annotations: { [cordonAnnotation]: null }, unschedulable: null });
  return `Node ${name} is schedulable again`;
}

async function change(
  api: KubernetesApi,
  { metadata: { name, resourceVersion } }: NodeObject,
  { annotations, unschedulable }: { annotations: Record<string, string | null>; unschedulable: true | null },
): Promise<void> {
  await unlessMissing(
    api.send({ method: 'PATCH', path: path(name), body: { metadata: { resourceVersion, annotations }, spec: { unschedulable } } }),
  );
}
