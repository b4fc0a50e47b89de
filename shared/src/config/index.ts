/** Configuration and everything else that is written in YAML: read once, validated with places, frozen. */
export { formatDuration, tryParseDuration } from './duration.ts';
export {
  type DurationBounds,
  durationMs,
  durationSeconds,
  fileMode,
  formatFileMode,
  type HostPortOptions,
  hostPort,
  ipRange,
} from './fields.ts';
export { deepFreeze, loadYaml, parseDuration, readConfigFile } from './load.ts';
export { addressInRange, bracketed, canonicalAddress, dnsNameFault, formatHostPort, parseHostPort, parseRange } from './names.ts';
export { didYouMean, nearest } from './nearest.ts';
export { toCommentedYaml } from './print.ts';
export { formatPath, type Path, SourceMap } from './source-map.ts';
export { describeValue, type Validated, validate } from './validate.ts';
export { readYaml, type YamlDocument, yamlLimits } from './yaml-source.ts';
