import { Document, isMap, isScalar, type Node } from 'yaml';
import { z } from 'zod';

/**
 * A configuration as YAML, for `--print-config`. With its schema, values are written as a file would hold them (durations as "10m", modes as "0600") and each
 * field's `.describe()` stands above it, so that the output is a file that can be read again.
 */
export function toCommentedYaml(config: unknown, schema?: z.ZodType): string {
  const document = new Document(schema === undefined ? config : z.encode(schema, config), { aliasDuplicateObjects: false });
  if (schema !== undefined) comment(document.contents, schema);
  return document.toString({ lineWidth: 0 });
}

function comment(node: Node | null, schema: z.core.$ZodType): void {
  const object = unwrap(schema);
  if (!isMap(node) || !(object instanceof z.ZodObject)) return;
  for (const pair of node.items) {
    const field = isScalar(pair.key) ? object.shape[String(pair.key.value)] : undefined;
    if (field === undefined || !isScalar(pair.key)) continue;
    const text = describe(field);
    if (text !== undefined) pair.key.commentBefore = ` ${text}`;
    comment(pair.value as Node | null, field);
  }
}

function describe(schema: z.core.$ZodType): string | undefined {
  for (let current: z.core.$ZodType | undefined = schema; current !== undefined; current = inner(current)) {
    const text = z.globalRegistry.get(current)?.description;
    if (text !== undefined) return text;
  }
  return undefined;
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const next = inner(schema);
  return next === undefined ? schema : unwrap(next);
}

/** What a wrapper (default, optional, …) wraps. */
function inner(schema: z.core.$ZodType): z.core.$ZodType | undefined {
  return (schema._zod.def as { innerType?: z.core.$ZodType }).innerType;
}
