export { type Contents, differences, isContent, readContents } from './contents.ts';
export { type CopyOptions, copyContents } from './copy.ts';
export { type Migration, type MigrationOptions, migrate, type Side } from './migrate.ts';
