import { type FileKeyProviderOptions, openFileKeyProvider as openFiles } from './file/provider.ts';
import type { KeyProvider } from './types.ts';

export { type CaKeysConfig, caKeysSchema } from './config.ts';
export { checkKeySharing, type KeyDependencies, type KeyLocation, openKeyProvider } from './open.ts';
export type { KeyProvider, KeyProviderKind, Signer } from './types.ts';
export type { FileKeyProviderOptions };

/** Keys in encrypted files alone; what the configuration names is opened by `openKeyProvider`. */
export const openFileKeyProvider: (options: FileKeyProviderOptions) => Promise<KeyProvider> = openFiles;
