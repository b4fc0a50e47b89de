export { canonicalJson } from './canonical.ts';
export { afterCheckpoint, entryHash, entryText, genesis, link } from './chain.ts';
export type { AuditFault, AuditFaultKind, CheckedLog } from './check-log.ts';
export { judgeLogs } from './judge-logs.ts';
export { formatLine, parseLine } from './lines.ts';
export { checkpointBytes, encodeSignature, signatureFault } from './signature.ts';
export * from './types.ts';
export { type AuditReport, type AuditSource, type VerifyOptions, verifyAuditLog } from './verify.ts';
