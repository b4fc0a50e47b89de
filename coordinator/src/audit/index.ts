export type { AuditFilter } from './filter.ts';
export { AuditReader } from './reader.ts';
