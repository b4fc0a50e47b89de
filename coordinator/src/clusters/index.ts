export { differencesOf } from '../issuance/differences.ts';
export { checkAuthorities, checkServiceAccountKey } from './import-authorities.ts';
export { comparePlaced, readPlaced } from './import-certificates.ts';
export { inferPolicy, nodeOf } from './import-policy.ts';
export { type AuthorityInput, type CheckedAuthority, type ImportFinding, type PlacedCertificate, sorted } from './import-types.ts';
