export { type Context, type ContextsFile, contextsPath, readContexts, writeContexts } from './file.ts';
export { type ContextMaterial, loadMaterial } from './material.ts';
export { isBy, writeAuthorities, writeClientPair } from './refresh.ts';
export { findContext, type ResolvedContext, resolveContext } from './resolve.ts';
