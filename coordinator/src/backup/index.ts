export { type BackupOptions, createBackup } from './create.ts';
