export {
  desiredBundleFromProto,
  desiredBundleToProto,
  desiredCertificateFromProto,
  desiredCertificateToProto,
  desiredKeyPairFromProto,
  desiredKeyPairToProto,
} from './desired.ts';
export { roleFromProto, roleToProto } from './role.ts';
