import { apiVersion } from '@evercert/shared/manifest';
import { stringify } from 'yaml';
import { timestamp } from './time.ts';

/** Kubernetes' object form. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown> & { name: string };
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
}

export interface KubernetesList {
  apiVersion: string;
  kind: 'List';
  metadata: Record<string, never>;
  items: KubernetesObject[];
}

export function listOf(items: KubernetesObject[]): KubernetesList {
  return { apiVersion, kind: 'List', metadata: {}, items };
}

export type ObjectFormat = 'json' | 'yaml';

/** Dates become RFC 3339 in whole seconds; what is undefined is left out. */
export function renderObject(value: unknown, format: ObjectFormat): string {
  const plain = plainOf(value);
  return format === 'json' ? `${JSON.stringify(plain, undefined, 4)}\n` : stringify(plain, { lineWidth: 0 });
}

function plainOf(value: unknown): unknown {
  if (value instanceof Date) return timestamp(value);
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, plainOf(item)]),
  );
}

/** Without empty strings, empty lists and empty maps; zero and false stay. */
export function compact(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  if (value instanceof Date || typeof value !== 'object') return false;
  return Object.keys(value).length === 0;
}
