export { type AdoptionStatement, signAdoption, verifyAdoption } from './adoption-proof.ts';
export {
  desiredBundleFromProto,
  desiredBundleToProto,
  desiredCertificateFromProto,
  desiredCertificateToProto,
  desiredKeyPairFromProto,
  desiredKeyPairToProto,
  desiredRevocationListFromProto,
  desiredRevocationListToProto,
} from './desired.ts';
export { identityNotValid } from './identity-refused.ts';
export { type RecoveryStatement, signRecovery, verifyRecovery } from './recovery-proof.ts';
export { oneOf, replacementPolicyFromProto, replacementPolicyToProto } from './replacement.ts';
export { roleFromProto, roleToProto } from './role.ts';
export { rotationPolicyFromProto, rotationPolicyToProto } from './rotation.ts';
