export { type FileKeyProviderOptions, openFileKeyProvider } from './file-provider.ts';
export type * from './types.ts';
