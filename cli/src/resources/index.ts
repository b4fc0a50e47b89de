import { usageError } from '../errors.ts';
import { cas } from './ca.ts';
import { certificates } from './certificate.ts';
import { clusters } from './cluster.ts';
import { coordinators } from './coordinator.ts';
import { events } from './event.ts';
import { certificateManifests, keyPairManifests, manifests, revocationListManifests, trustBundleManifests } from './manifest.ts';
import { nodes } from './node.ts';
import { replacements } from './replacement.ts';
import { revocations } from './revocation.ts';
import { tokens } from './token.ts';
import type { Resource } from './types.ts';

export { listEvents } from './event.ts';
export { isOfNote, isUnderWay, pauseLines, verdictObject, verdictOf } from './replacement.ts';
export { type LabelRequirement, matchLabels, parseSelector, requireAll, select, sorted } from './select.ts';
export { type Column, type DescribeContext, everything, type Resource, type Selection } from './types.ts';
export {
  cas,
  certificateManifests,
  certificates,
  clusters,
  coordinators,
  events,
  keyPairManifests,
  manifests,
  nodes,
  replacements,
  revocationListManifests,
  revocations,
  tokens,
  trustBundleManifests,
};

/** The resource table. A resource's functions take only what it itself listed. */
export const resources: readonly Resource<unknown>[] = [
  clusters,
  nodes,
  certificates,
  cas,
  manifests,
  certificateManifests,
  trustBundleManifests,
  keyPairManifests,
  revocationListManifests,
  revocations,
  replacements,
  tokens,
  events,
  coordinators,
];

/** By plural, singular, short name or kind, in any case. InvalidArgument names what there is. */
export function findResource(name: string): Resource<unknown> {
  const wanted = name.toLowerCase();
  const found = resources.find((one) => [one.plural, one.singular, one.kind.toLowerCase(), ...one.shortNames].includes(wanted));
  if (found) return found;
  throw usageError(`the server doesn't have a resource type "${name}": expected one of ${resources.map((one) => one.plural).join(', ')}`);
}

/** `TYPE NAME…`, `TYPE/NAME…` or `TYPE`. */
export function parseTarget(type: string, names: readonly string[]): { resource: Resource<unknown>; names: string[] } {
  const slash = type.indexOf('/');
  if (slash < 0) return { resource: findResource(type), names: [...names] };
  const resource = findResource(type.slice(0, slash));
  const targets = [type, ...names].map((target) => {
    const at = target.indexOf('/');
    if (at < 0 || findResource(target.slice(0, at)) !== resource) {
      throw usageError(`expected ${resource.singular}/NAME, got "${target}": name one type, either as TYPE NAME… or as TYPE/NAME…`);
    }
    return target.slice(at + 1);
  });
  const empty = targets.indexOf('');
  if (empty >= 0) throw usageError(`expected ${resource.singular}/NAME: the name is missing`);
  return { resource, names: targets };
}
