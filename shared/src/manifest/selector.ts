import type { NodeFacts, Selector } from './types.ts';

/** Whether a node meets every condition that the selector gives; an empty one selects every node. */
export function selects(selector: Selector, node: NodeFacts): boolean {
  if (selector.role !== undefined && selector.role !== node.role) return false;
  if (selector.nodes !== undefined && !selector.nodes.includes(node.name)) return false;
  return Object.entries(selector.labels ?? {}).every(([key, value]) => Object.hasOwn(node.labels, key) && node.labels[key] === value);
}
