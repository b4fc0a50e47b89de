export { BundleActivator, type BundleActivatorOptions } from './activator.ts';
export { namedAuthorities } from './named.ts';
export { type BundleVerifier, compareAuthorities, createBundleVerifier } from './verify.ts';
