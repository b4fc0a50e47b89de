export { type Contents, differences, readContents } from './contents.ts';
export { type Migration, type MigrationOptions, migrate, type Side } from './migrate.ts';
