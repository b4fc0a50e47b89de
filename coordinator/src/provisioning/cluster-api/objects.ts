/** The parts of Kubernetes' and Cluster API's objects that are read here; whatever else they hold is left as it is. */

import type { KubernetesObject, OwnerReference } from '../../kubernetes/core/index.ts';

export interface BootstrapSpec {
  /** `apiVersion` in v1beta1, `apiGroup` in v1beta2. */
  configRef?: { apiVersion?: string; apiGroup?: string; kind?: string; name?: string };
  dataSecretName?: string;
}

export interface Machine extends KubernetesObject {
  spec: { clusterName: string; bootstrap?: BootstrapSpec };
  status?: { phase?: string; nodeRef?: { name?: string } };
}

export interface MachineSet extends KubernetesObject {
  spec: { clusterName: string; replicas?: number; template?: { spec?: { bootstrap?: BootstrapSpec } } };
}

export interface ClusterObject extends KubernetesObject {
  spec?: { paused?: boolean };
}

export interface NodeObject extends KubernetesObject {
  spec?: { unschedulable?: boolean };
  status?: { conditions?: { type: string; status: string }[] };
}

export interface Pod extends KubernetesObject {
  spec?: { nodeName?: string; volumes?: { emptyDir?: object }[] };
  status?: { phase?: string };
}

/** On a Machine: `ID-ATTEMPT` of the replacement whose new machine it is. On its Secret too. */
export const claimAnnotation = 'evercert.io/replacement';
/** On a Machine: what its node is called at the coordinator, where that is not the Machine's own name. */
export const nodeNameAnnotation = 'evercert.io/node-name';
/** On a Node: the replacement that cordoned it; a node that somebody else cordoned has none and stays cordoned. */
export const cordonAnnotation = 'evercert.io/cordoned-by';
/** On a MachineSet, one for each replacement of one of its Machines; the name is the replacement's id. */
export const recordPrefix = 'replacement.evercert.io/';

export const controlPlaneLabel = 'cluster.x-k8s.io/control-plane';
export const clusterNameLabel = 'cluster.x-k8s.io/cluster-name';
export const pausedAnnotation = 'cluster.x-k8s.io/paused';
export const bootstrapSecretType = 'cluster.x-k8s.io/secret';

/** Our own bootstrap configuration, and what MachineSets name to have one made for each Machine (deploy/kubernetes/evercert-bootstrap.yaml). */
export const bootstrapGroup = 'bootstrap.evercert.io';
export const bootstrapVersion = 'v1alpha1';
export const bootstrapKinds = ['EvercertConfig', 'EvercertConfigTemplate'];

export function controllerOf({ metadata }: KubernetesObject, kind: string): OwnerReference | undefined {
  return metadata.ownerReferences?.find((owner) => owner.controller === true && owner.kind === kind);
}

export function annotationOf({ metadata }: KubernetesObject, name: string): string | undefined {
  return metadata.annotations?.[name];
}
