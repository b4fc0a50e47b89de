export { type DescribedTable, type Description, renderDescription } from './description.ts';
export { type ObjectChange, unifiedDiff } from './diff.ts';
export { compact, type KubernetesObject, listOf, renderObject } from './objects.ts';
export { type OutputFormat, outputFormats, Printer, type PrintOptions, type WatchEventName } from './printer.ts';
export { parsePath, sortByPath } from './sort.ts';
export { printable, type Row, renderTable, TableWriter } from './table.ts';
export { age, expiry, humanDuration, timestamp, timeWithAge, timeWithExpiry, twoUnits } from './time.ts';
