export { AuditLog } from './audit-log.ts';
export { decodeBlockHead } from './blocks.ts';
export { AuditFiles } from './files.ts';
export type { AuditFilter } from './filter.ts';
export { relinkOperations } from './head.ts';
export { AuditReader } from './reader.ts';
export type { AuditHeadRecord, AuditRelinkRecord } from './records.ts';
export { Sealer, type SealerOptions } from './sealer.ts';
export { CheckpointSigner } from './signer.ts';
