export { type CertificateInfo, parseCertificate } from './certificate.ts';
export { type ChainCheck, verifyChain } from './chain.ts';
export { type CsrContents, createCaCsr, createCsr } from './create-csr.ts';
export { type CrlContents, type CrlEntry, createCrl, maxCrlEntries } from './crl.ts';
export { openCsr, type ParsedCsr, parseCsr, type RequestedContents, verifyCsr } from './csr.ts';
export { encryptedPrivateKeyToPem } from './encrypted-key.ts';
export { effectiveUsages } from './extensions.ts';
export { type AlternativeNames, canonicalIp, normalizeNames } from './general-names.ts';
export { createRootCertificate, issueLeaf, type LeafRequest, type PreparedIssuer, prepareIssuer, type RootRequest } from './issue.ts';
export { type CaCertificateRequest, issueCa } from './issue-ca.ts';
export {
  type CertificateSigner,
  generateKeyPair,
  type KeyPair,
  keyAlgorithmOf,
  matchesPin,
  pairMatches,
  privateKeyFromPem,
  privateKeyToPem,
  publicKeyPin,
  signerFor,
  spkiDer,
  spkiSha256,
} from './keys.ts';
export { parseName } from './names.ts';
export { isIssuerOf, type OcspCertId, type OcspRequest, parseOcspRequest } from './ocsp-request.ts';
export {
  createOcspError,
  createOcspResponse,
  type OcspAnswer,
  type OcspResponseContents,
  type OcspStatus,
  ocspErrors,
} from './ocsp-response.ts';
export { auditSigningPurpose } from './oids.ts';
export { type CrlInfo, parseCrl, verifyCrl } from './parse-crl.ts';
export { certificatesFromPem, certificatesToPem, type PemBlock, pemBlocks, toPem } from './pem.ts';
export { createPkcs12 } from './pkcs12.ts';
export { type CrlReason, reasonCodes } from './revocation-reasons.ts';
export { newSerial, normalizeSerial } from './serial.ts';
export * from './types.ts';
