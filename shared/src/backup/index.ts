export { BackupArchive, type BackupSource, backupPayload, type Sealing, sealPayload } from './archive.ts';
export { type Counted, DigestCounter } from './digests.ts';
export { writeWhole } from './file.ts';
export { chunkBytes, peekAbout } from './seal.ts';
export { backupSummary } from './summary.ts';
export * from './types.ts';
