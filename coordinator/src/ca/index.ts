export type { AuthorityGeneration, AuthorityRecord, AuthorityRequest, EarlierGeneration } from '../state/records.ts';
export { acceptedGeneration, type OfferedCertificate } from './accept.ts';
export { Authorities, trustAnchors } from './authorities.ts';
export * from './generations.ts';
export { pathAbove } from './path.ts';
