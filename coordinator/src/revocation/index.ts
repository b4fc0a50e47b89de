export { describeMatch, refusalError } from './refusal.ts';
export { Revocations, type RevokedCertificate } from './revocations.ts';
export type * from './types.ts';
