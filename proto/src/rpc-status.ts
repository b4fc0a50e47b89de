/** google.rpc's error model, as carried in `grpc-status-details-bin`. */
export { Any } from './gen/google/protobuf/any.ts';
export * from './gen/google/rpc/status.ts';
