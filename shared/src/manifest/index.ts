/** Manifests: what a cluster declares, read from YAML, checked, and resolved for nodes. */
export { type CertificateChange, describeChange } from './change.ts';
export { keepSource } from './faults.ts';
export { manifestLimits } from './limits.ts';
export {
  type DocumentKind,
  documentKinds,
  isManifest,
  loadDocuments,
  type ParsedDocument,
  type ParseOptions,
  type ParseResult,
  parseDocuments,
} from './parse.ts';
export {
  formatTimeOfDay,
  maxUnhealthyExample,
  mergePolicy,
  parseMaxUnhealthy,
  parseTimeOfDay,
  replacementFault,
  replacementLimits,
  replacementPolicyOf,
} from './replacement.ts';
export { resolveNode } from './resolve.ts';
export { revocationValue, valueFields } from './revocation.ts';
export { formatRfc3339, parseRfc3339 } from './rfc3339.ts';
export { selects } from './selector.ts';
export { generationUrl, type StatusUrls, statusUrls } from './status-urls.ts';
export { templateVariables } from './template.ts';
export { toYaml } from './to-yaml.ts';
export * from './types.ts';
export { validateSet } from './validate-set.ts';
