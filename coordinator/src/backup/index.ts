export { type BackupOptions, createBackup } from './create.ts';
export { Learning } from './learning.ts';
export { type Restored, type RestoreOptions, restore, uncovered } from './restore.ts';
