export { type StoreConfig, storeSchema } from './config.ts';
export { type EtcdStore, type EtcdStoreOptions, openEtcdStore } from './etcd/store.ts';
export { storeLimits } from './limits.ts';
export { describeLocation, openConfiguredEtcd, openStore, type StoreDependencies, type StoreLocation } from './open.ts';
export { openSqliteStore, type SqliteStore, type SqliteStoreOptions, type SqliteStoreStats } from './sqlite/store.ts';
export * from './types.ts';
