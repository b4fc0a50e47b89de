/** Fields that several kinds of documents have. */
import { z } from 'zod';

/** Bounds on one document. */
export const documentLimits = { listItems: 200, labels: 64, textLength: 1024, argvItems: 64 } as const;

export const text = z.string().min(1).max(documentLimits.textLength);

/** A number where text is wanted is a common slip that can mean one thing only, as in `owner: 0`. */
export const textOrNumber = z.preprocess((value) => (typeof value === 'number' ? String(value) : value), text);

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** RFC 1123 label, as Kubernetes names its objects. */
export const objectName = z.string().refine((name) => label.test(name), {
  error: 'expected a name of lower-case letters, digits and hyphens, 1 to 63 characters, beginning and ending with a letter or digit',
});

/** RFC 1123 subdomain: Kubernetes' node names may hold dots. */
export const nodeName = subdomain('a node name');

export function subdomain(what: string): z.ZodString {
  return z.string().refine((name) => name.length <= 253 && name.split('.').every((part) => label.test(part)), {
    error: `expected ${what} of lower-case letters, digits, hyphens and dots (RFC 1123), 253 characters at most`,
  });
}

/** https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const labelKey = z.string().refine((key) => /^(?:[a-z0-9.-]{1,253}\/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/.test(key), {
  error: 'expected a label key as Kubernetes has them, such as "zone" or "topology.kubernetes.io/zone"',
});
const labelValue = z.string().refine((value) => value === '' || /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/.test(value), {
  error: 'expected a label value of letters, digits, "-", "_" and ".", 63 characters at most',
});
export const labels = z
  .record(labelKey, labelValue)
  .refine((map) => Object.keys(map).length <= documentLimits.labels, { error: `expected at most ${documentLimits.labels} labels` });

export const list = <T extends z.ZodType>(item: T): z.ZodArray<T> => z.array(item).max(documentLimits.listItems);

export const unique = { error: 'expected each item once' };
export const isUnique = (items: readonly unknown[]): boolean => new Set(items).size === items.length;
