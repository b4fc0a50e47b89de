/** The contract between the parts, generated from proto/evercert/v1. */
export * from './gen/evercert/v1/admin_service.ts';
export * from './gen/evercert/v1/desired_state.ts';
export * from './gen/evercert/v1/enrollment_service.ts';
export * from './gen/evercert/v1/node_service.ts';
export * from './gen/evercert/v1/recovery_service.ts';
export * from './gen/evercert/v1/types.ts';
// Each generated file has these under the same names; one of each is enough.
export { type DeepPartial, type MessageFns, protobufFileName, protobufPackage } from './gen/evercert/v1/types.ts';
