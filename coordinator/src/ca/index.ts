export type { AuthorityGeneration, AuthorityRecord, AuthorityRequest, EarlierGeneration } from '../state/records.ts';
export { acceptedGeneration, type OfferedCertificate } from './accept.ts';
export { Authorities, trustAnchors } from './authorities.ts';
export { ControlCa, signerOf } from './control-ca.ts';
export { chainBehind, coveredRotations } from './control-chain.ts';
export * from './generations.ts';
export { pathAbove } from './path.ts';
