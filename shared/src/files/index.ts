export {
  createFileDurable,
  type DurableFileOptions,
  draftSymlink,
  removeIfThere,
  renameDurable,
  replaceSymlinkDurable,
  setAttributes,
  sweepTemporaries,
  syncDirectory,
  temporaryPath,
  writeFileDurable,
} from './durable.ts';
export { errnoOf, toFileError } from './errors.ts';
