export { type StoreConfig, storeSchema } from './config.ts';
export { type Compactable, startCompaction } from './etcd/compaction.ts';
export { type EndpointStatus, type EtcdStatus, etcdStatus } from './etcd/status.ts';
export { type EtcdStore, type EtcdStoreOptions, isEtcdStore, openEtcdStore } from './etcd/store.ts';
export { storeLimits } from './limits.ts';
export { encodeMark, type FoundMark, readMark, type StoreMark } from './mark.ts';
export { describeLocation, openConfiguredEtcd, openStore, type StoreDependencies, type StoreLocation, sqliteFile } from './open.ts';
export { openSqliteStore, type SqliteStore, type SqliteStoreOptions, type SqliteStoreStats } from './sqlite/store.ts';
export * from './types.ts';
