export { BundleKeeper, type BundleSnapshot } from './bundles.ts';
export { KeyPairKeeper, type KeyPairSnapshot } from './key-pairs.ts';
export { FileLedger } from './ledger.ts';
