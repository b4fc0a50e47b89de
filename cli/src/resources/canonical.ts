import { type AnyDocument, toYaml } from '@evercert/shared/manifest';
import { parse } from 'yaml';

/** The `spec` that the canonical YAML of a document has: the one mapping to manifest form is the manifest package's own. */
export function canonicalSpec(document: AnyDocument): Record<string, unknown> {
  return (parse(toYaml(document)) as { spec?: Record<string, unknown> }).spec ?? {};
}
