export { referenceOf } from './reference.ts';
export { describeMatch, identityRefusal, refusalError } from './refusal.ts';
export { Revocations, type RevokedCertificate } from './revocations.ts';
export type * from './types.ts';
