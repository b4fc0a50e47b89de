/** Enough of a CustomResourceDefinition's schema to prune and to validate as kube-apiserver does (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/). */

export interface Schema {
  type?: string;
  nullable?: boolean;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maxLength?: number;
  pattern?: string;
  enum?: unknown[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  not?: Schema;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Without the fields that the schema does not name. Kept is what is below `x-kubernetes-preserve-unknown-fields`. */
export function prune(value: unknown, schema: Schema | undefined): unknown {
  if (schema === undefined) return value;
  if (Array.isArray(value)) return value.map((item) => prune(item, schema.items));
  if (!isObject(value)) return value;
  const { properties = {} } = schema;
  const kept = Object.entries(value).filter(([name]) => name in properties || schema['x-kubernetes-preserve-unknown-fields']);
  return Object.fromEntries(kept.map(([name, inner]) => [name, prune(inner, properties[name])]));
}

/** What is wrong, in kube-apiserver's words. */
export function faultsOf(value: unknown, schema: Schema, path = ''): string[] {
  if (value === null && schema.nullable) return [];
  const found = typeFault(value, schema);
  if (found !== undefined) return [`${path} in body must be of type ${schema.type}: "${found}"`];
  const faults: string[] = [];
  const wrong = (what: string): number => faults.push(`${path} in body ${what}`);
  if (typeof value === 'string') {
    if (schema.maxLength !== undefined && [...value].length > schema.maxLength) wrong(`should be at most ${schema.maxLength} chars long`);
    if (schema.pattern !== undefined && !toRegExp(schema.pattern).test(value)) wrong(`should match '${schema.pattern}'`);
  }
  if (typeof value === 'number' && schema.minimum !== undefined && value < schema.minimum)
    wrong(`should be greater than or equal to ${schema.minimum}`);
  if (schema.enum !== undefined && !schema.enum.includes(value)) wrong(`should be one of ${JSON.stringify(schema.enum)}`);
  if (Array.isArray(value)) {
    if (schema.minItems !== undefined && value.length < schema.minItems) wrong(`should have at least ${schema.minItems} items`);
    if (schema.maxItems !== undefined && value.length > schema.maxItems) wrong(`should have at most ${schema.maxItems} items`);
    for (const [index, item] of value.entries()) if (schema.items) faults.push(...faultsOf(item, schema.items, `${path}[${index}]`));
  }
  if (isObject(value)) {
    for (const name of schema.required ?? []) if (!(name in value)) faults.push(`${join(path, name)}: Required value`);
    for (const [name, inner] of Object.entries(schema.properties ?? {}))
      if (name in value) faults.push(...faultsOf(value[name], inner, join(path, name)));
  }
  const fits = (one: Schema): boolean => faultsOf(value, one, path).length === 0;
  if (schema.oneOf && schema.oneOf.filter(fits).length !== 1) wrong('must validate one and only one schema (oneOf)');
  if (schema.anyOf && !schema.anyOf.some(fits)) wrong('must validate at least one schema (anyOf)');
  if (schema.not && fits(schema.not)) wrong('must not validate the schema (not)');
  return faults;
}

function typeFault(value: unknown, { type }: Schema): string | undefined {
  if (type === undefined) return undefined;
  const is = value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
  return is === type || (type === 'number' && is === 'integer') ? undefined : is;
}

/** Go's flags stand in front. */
function toRegExp(pattern: string): RegExp {
  return pattern.startsWith('(?i)') ? new RegExp(pattern.slice(4), 'iu') : new RegExp(pattern, 'u');
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
