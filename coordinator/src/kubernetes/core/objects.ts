/** What Kubernetes' objects have in common, as far as it is read here; whatever else they hold is left as it is. */

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid: string;
  resourceVersion: string;
  generation?: number;
  creationTimestamp: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  finalizers?: string[];
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
}

export interface KubernetesObject {
  metadata: ObjectMeta;
}

export interface List<T> {
  metadata: { continue?: string; resourceVersion?: string };
  items: T[];
}

/** https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes */
export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: T;
}

/** `NAMESPACE/NAME`, or the name alone where there are no namespaces: how controllers call an object. */
export function keyOf({ metadata }: KubernetesObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** Path of one object of a collection; of all namespaces' collection, too. */
export function objectPath(collection: string, key: string): string {
  const [name = '', namespace] = key.split('/').reverse().map(encodeURIComponent);
  if (namespace === undefined || collection.includes('/namespaces/')) return `${collection}/${name}`;
  const end = collection.lastIndexOf('/');
  return `${collection.slice(0, end)}/namespaces/${namespace}${collection.slice(end)}/${name}`;
}

/**
 * Whether one state of an object is older than another: resource versions of one object are numbers that grow (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions). Of an object
 * that was deleted and made anew, the earlier one is the older, too. Texts that are no numbers: nobody can say.
 */
export function isOlder({ metadata: one }: KubernetesObject, { metadata: other }: KubernetesObject): boolean {
  const number = /^\d{1,20}$/;
  return (
    number.test(one.resourceVersion) && number.test(other.resourceVersion) && BigInt(one.resourceVersion) < BigInt(other.resourceVersion)
  );
}
