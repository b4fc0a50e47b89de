export { entryRecord, revocationDocument } from './documents.ts';
export { referenceOf } from './reference.ts';
export { describeMatch, identityRefusal, refusalError } from './refusal.ts';
export { Revocations, type RevokedCertificate } from './revocations.ts';
export { type Rule, RuleIndex } from './rule-index.ts';
export { type Subject, subjectOfCertificate, subjectOfProfile } from './subject.ts';
export type * from './types.ts';
