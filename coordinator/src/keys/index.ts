import { type FileKeyProviderOptions, openFileKeyProvider as openFiles } from './file/provider.ts';
import type { KeyProvider } from './types.ts';

export { type CaKeysConfig, caKeysSchema } from './config.ts';
export { checkKeptKeys, type KeptKeyFile, readKeptKeys, writeKeptKeys } from './file/archive.ts';
export type { MoveOutcome } from './move.ts';
export { checkKeySharing, type HolderDependencies, type KeyDependencies, type KeyLocation, keyFilesOf, openKeyProvider } from './open.ts';
export { KeyPlaces, type ListedKey, type MoveRequest } from './places.ts';
export { readPrivateFile } from './private-file.ts';
export { type KeyProvider, type KeyProviderKind, keyProviderKinds, type Signer } from './types.ts';
export type { FileKeyProviderOptions };

/** Keys in encrypted files alone; what the configuration names is opened by `openKeyProvider`. */
export const openFileKeyProvider: (options: FileKeyProviderOptions) => Promise<KeyProvider> = openFiles;
