export { type ApplierOptions, DesiredApplier } from './applier.ts';
export type * from './types.ts';
