/** The part of etcd's v3 API that Evercert calls. */
export * from './gen/etcd/rpc.ts';
