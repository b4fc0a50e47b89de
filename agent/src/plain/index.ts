export { BundleKeeper, type BundleSnapshot } from './bundles.ts';
export { KeyPairKeeper, type KeyPairSnapshot } from './key-pairs.ts';
export { FileLedger } from './ledger.ts';
export { RevocationListKeeper, type RevocationListSnapshot } from './revocation-lists.ts';
