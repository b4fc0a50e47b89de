import { EvercertError } from '@evercert/shared/errors';
import { usageError } from '../errors.ts';
import type { Resource, Selection } from './types.ts';

export type LabelRequirement =
  | { key: string; operator: 'equals' | 'differs'; value: string }
  | { key: string; operator: 'exists' | 'absent' };

const requirementPattern = /^\s*(!?)\s*([A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?)\s*(?:(==|=|!=)\s*([A-Za-z0-9._-]*)\s*)?$/;

/** kubectl's equality-based selectors: `key=value,key!=value,key,!key`. */
export function parseSelector(text: string): LabelRequirement[] {
  return text.split(',').map((part) => {
    const match = requirementPattern.exec(part);
    const [, not, key, operator, value = ''] = match ?? [];
    if (key === undefined || (not === '!' && operator !== undefined)) {
      throw usageError(`cannot understand the selector "${part}": expected key=value, key!=value, key or !key`);
    }
    if (operator === undefined) return { key, operator: not === '!' ? 'absent' : 'exists' };
    return { key, operator: operator === '!=' ? 'differs' : 'equals', value };
  });
}

export function matchLabels(labels: Readonly<Record<string, string>>, requirements: readonly LabelRequirement[]): boolean {
  return requirements.every((requirement) =>
    isMet(requirement, Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined),
  );
}

function isMet(requirement: LabelRequirement, value: string | undefined): boolean {
  switch (requirement.operator) {
    case 'equals':
      return value === requirement.value;
    case 'differs':
      return value !== requirement.value;
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
  }
}

/** A filter for one resource. InvalidArgument: `--node` or `--selector` does not apply to it. */
export function select<T>(resource: Resource<T>, selection: Selection, labels: readonly LabelRequirement[]): (item: T) => boolean {
  if (selection.node !== '' && !resource.nodes) throw usageError(`--node does not apply to ${resource.plural}`);
  if (labels.length > 0 && !resource.labels) throw usageError(`--selector does not apply to ${resource.plural}: they have no labels`);
  return (item) =>
    (selection.cluster === '' || resource.cluster(item) === selection.cluster || resource.cluster(item) === '') &&
    (selection.names.length === 0 || selection.names.some((name) => answersTo(resource, item, name))) &&
    (selection.node === '' || resource.nodes!(item).includes(selection.node)) &&
    (labels.length === 0 || matchLabels(resource.labels!(item), labels)) &&
    (resource.selects?.(item, selection) ?? true);
}

function answersTo<T>(resource: Resource<T>, item: T, name: string): boolean {
  return resource.answersTo?.(item, name) ?? resource.name(item) === name;
}

/** NotFound, worded as kubectl's, for the first name that nothing answers to. */
export function requireAll<T>(resource: Resource<T>, items: readonly T[], names: readonly string[], server: string): void {
  const missing = names.find((name) => !items.some((item) => answersTo(resource, item, name)));
  if (missing === undefined) return;
  const hint = resource.nameForm === undefined ? '' : `: name it as ${resource.nameForm}`;
  throw new EvercertError('NotFound', `${resource.plural} "${missing}" not found${hint}`, { metadata: { server } });
}

export function sorted<T>(resource: Resource<T>, items: readonly T[]): T[] {
  const byName = (a: T, b: T): number =>
    resource.cluster(a).localeCompare(resource.cluster(b)) || resource.name(a).localeCompare(resource.name(b));
  return [...items].sort((a, b) => resource.compare?.(a, b) ?? byName(a, b));
}
