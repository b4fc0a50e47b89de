export {
  createFileDurable,
  type DurableFileOptions,
  removeIfThere,
  replaceSymlinkDurable,
  setAttributes,
  sweepTemporaries,
  syncDirectory,
  temporaryPath,
  writeFileDurable,
} from './durable.ts';
export { errnoOf, toFileError } from './errors.ts';
