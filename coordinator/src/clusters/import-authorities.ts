/** Whether CAs that others made can be taken over. Pure. */
import type { KeyObject } from 'node:crypto';
import { describeError } from '@evercert/shared/errors';
import { type IssuerName, issuers } from '@evercert/shared/manifest';
import {
  type CertificateInfo,
  certificatesFromPem,
  keyAlgorithmOf,
  pairMatches,
  parseCertificate,
  privateKeyFromPem,
  verifyChain,
} from '@evercert/shared/x509';
import type { AuthorityInput, CheckedAuthority, ImportFinding, Severity } from './import-types.ts';

export interface AuthoritiesQuestion {
  authorities: readonly AuthorityInput[];
  nowMs: number;
  /** CAs of this coordinator's clusters. */
  others: readonly { cluster: string; name: string; spkiSha256: string }[];
}

/** More in one file is no bundle of a CA's generations. */
const maxBundle = 16;
const yearMs = 365 * 86_400_000;

export function checkAuthorities({ authorities, nowMs, others }: AuthoritiesQuestion): {
  findings: ImportFinding[];
  checked: CheckedAuthority[];
} {
  const findings: ImportFinding[] = [];
  const checked: CheckedAuthority[] = [];
  for (const input of authorities) {
    const tell = (severity: Severity, message: string): void => {
      findings.push({ severity, path: input.source, certificate: '', kind: 'Authority', message: `${shown(input.name)}: ${message}` });
    };
    const authority = checkOne(input, nowMs, tell);
    if (!authority) continue;
    const twice = checked.some(({ name }) => name === authority.name);
    if (twice) tell('Error', 'it is given twice; expected one CA of each name');
    const same = checked.find(({ info }) => info.spkiSha256 === authority.info.spkiSha256);
    if (same && !twice) tell('Warning', `it is the same CA as ${same.name}: ${whySeparate}`);
    const other = others.find(({ spkiSha256 }) => spkiSha256 === authority.info.spkiSha256);
    if (other) tell('Error', `it is ${other.name} of cluster ${other.cluster} here already; each cluster needs CAs of its own`);
    checked.push(authority);
  }
  findings.push(...absent(checked, authorities));
  return { findings, checked };
}

const whySeparate =
  'with one CA for both, a certificate of the one is good for the other too (any kubelet can read etcd, or pose as the front proxy); make a CA of its own in time';

function absent(checked: readonly CheckedAuthority[], given: readonly AuthorityInput[]): ImportFinding[] {
  return issuers
    .filter((issuer) => !given.some(({ name }) => name === issuer) && !checked.some(({ name }) => name === issuer))
    .map((issuer): ImportFinding => {
      const needed = issuer === 'cluster-ca';
      return {
        severity: needed ? 'Error' : 'Warning',
        path: '',
        certificate: '',
        kind: 'Authority',
        message: needed
          ? 'cluster-ca: it is missing; expected ca.crt of the cluster'
          : `${issuer}: it is missing, so that what it issued is left unmanaged (etcd outside of the cluster, say)`,
      };
    });
}

type Tell = (severity: Severity, message: string) => void;

function checkOne(input: AuthorityInput, nowMs: number, tell: Tell): CheckedAuthority | undefined {
  const name = issuers.find((issuer) => issuer === input.name);
  if (name === undefined) {
    tell('Error', `no cluster has a CA of this name; expected one of ${issuers.join(', ')}`);
    return undefined;
  }
  const infos = readBundle(input.certificatesPem, tell);
  const [info] = infos ?? [];
  if (!infos || !info) return undefined;
  checkIsCa(info, tell);
  checkTimes(info, nowMs, tell);
  checkAlgorithms(info, tell);
  checkIssuers(infos, nowMs, tell);
  const privateKey = checkKey(input, infos, tell);
  if (input.privateKeyPem === '') tell('Info', 'its key is not given: what it issued is only watched, and nothing is renewed');
  return { name: name as IssuerName, certificates: infos.map(({ der }) => der), info, privateKey, source: input.source };
}

function readBundle(pem: string, tell: Tell): CertificateInfo[] | undefined {
  try {
    const ders = certificatesFromPem(pem);
    const unique = ders.filter((der, at) => ders.findIndex((each) => each.equals(der)) === at);
    if (unique.length > maxBundle) {
      tell('Error', `there are ${unique.length} certificates in it; expected at most ${maxBundle}, the CA's own first`);
      return undefined;
    }
    const infos = unique.map(parseCertificate);
    const more = infos.slice(1);
    if (more.length > 0) tell('Info', `${more.length} more in its file, which nodes go on to trust: ${more.map(describe).join('; ')}`);
    for (const info of more.filter((each) => !each.isCa)) tell('Error', `${describe(info)} in its file is no CA; take it out`);
    return infos;
  } catch (error) {
    tell('Error', `its certificate cannot be read: ${describeError(error)}`);
    return undefined;
  }
}

function checkIsCa({ caParts, pathLength, unknownCriticalExtensions: unknown }: CertificateInfo, tell: Tell): void {
  if (!caParts.constraint) tell('Error', 'its basic constraints do not say CA:TRUE; expected the certificate of a CA');
  if (!caParts.certSign) tell('Error', 'its key usage does not allow it to sign certificates (keyCertSign)');
  if (!caParts.crlSign)
    tell(
      'Info',
      'its key usage does not allow it to sign CRLs (cRLSign), as that of kubeadm: strict verifiers take no CRL of it, OCSP answers they do',
    );
  if (pathLength !== undefined && pathLength > 0) tell('Info', `its path length allows ${pathLength} CAs below it; none is made here`);
  if (unknown.length > 0) tell('Error', `it has critical extensions that are not understood here: ${unknown.join(', ')}`);
}

function checkTimes({ notBefore, notAfter }: CertificateInfo, nowMs: number, tell: Tell): void {
  const end = notAfter.toISOString();
  const leftMs = notAfter.getTime() - nowMs;
  if (leftMs <= 0) tell('Error', `it ended at ${end}: nothing that it signs is valid; renew the CA first`);
  else if (leftMs < yearMs) tell('Warning', `it ends within a year, at ${end}: plan its rotation`);
  if (notBefore.getTime() > nowMs) tell('Error', `it begins at ${notBefore.toISOString()}: check this machine's clock`);
}

function checkAlgorithms({ signatureAlgorithm, keyDescription }: CertificateInfo, tell: Tell): void {
  if (/sha-?1|md[245]/i.test(signatureAlgorithm)) tell('Error', `it is signed with ${signatureAlgorithm}, which is broken`);
  const bits = /^RSA(?:-PSS)? (\d+)$/.exec(keyDescription)?.[1];
  if (bits !== undefined && Number(bits) < 2048)
    tell('Error', `its key is ${keyDescription}; expected RSA of at least 2048 bits, or ECDSA`);
}

/** Its own signature where it is a root, else the way to the root that stands behind it in the file. */
function checkIssuers([info, ...more]: readonly CertificateInfo[], nowMs: number, tell: Tell): void {
  if (!info) return;
  const atMs = Math.min(Math.max(nowMs, info.notBefore.getTime()), info.notAfter.getTime());
  const isRoot = info.issuer === info.subject;
  const roots = isRoot ? [info] : more.filter((each) => each.issuer === each.subject);
  if (roots.length === 0) {
    tell(
      'Warning',
      `it is signed by "${info.issuer}", which is not in its file: only verifiers that take it for the end of the chain, as Go's, accept it`,
    );
    return;
  }
  try {
    verifyChain({ chain: [info.der, ...(isRoot ? [] : more.map(({ der }) => der))], anchors: roots.map(({ der }) => der), atMs });
  } catch (error) {
    tell('Error', `its chain does not hold: ${describeError(error)}`);
  }
}

function checkKey({ privateKeyPem }: AuthorityInput, infos: readonly CertificateInfo[], tell: Tell): KeyObject | undefined {
  if (privateKeyPem === '') return undefined;
  let key: KeyObject;
  try {
    key = privateKeyFromPem(privateKeyPem);
  } catch (error) {
    tell('Error', describeError(error));
    return undefined;
  }
  const fitting = infos.findIndex(({ der }) => pairMatches(der, key));
  if (fitting < 0) tell('Error', 'its private key is that of another certificate; give the key that belongs to it');
  if (fitting > 0)
    tell('Error', `its private key is that of ${describe(infos[fitting]!)}, which is not the first in its file; put that one first`);
  if (keyAlgorithmOf(key) === undefined) {
    tell('Error', `its key, ${infos[0]!.keyDescription}, cannot sign here; expected ECDSA P-256 or P-384, or RSA 2048, 3072 or 4096`);
  }
  return key;
}

/** The service-account key. Undefined: there is none, or it cannot be used. */
export function checkServiceAccountKey(pem: string): { findings: ImportFinding[]; key: KeyObject | undefined } {
  const finding = (severity: Severity, message: string): ImportFinding => ({
    severity,
    path: 'sa.key',
    certificate: 'sa',
    kind: 'Authority',
    message: `service-account key: ${message}`,
  });
  if (pem === '') return { findings: [finding('Info', 'it is not given, and is left as it is on the nodes')], key: undefined };
  try {
    const key = privateKeyFromPem(pem);
    if (keyAlgorithmOf(key) !== undefined) return { findings: [], key };
    const kinds = 'expected ECDSA P-256 or P-384, or RSA 2048, 3072 or 4096';
    return { findings: [finding('Error', `its kind is not known here; ${kinds}`)], key: undefined };
  } catch (error) {
    return { findings: [finding('Error', describeError(error))], key: undefined };
  }
}

function describe({ subject, serial, notAfter }: CertificateInfo): string {
  return `${subject || 'a CA without a subject'} (serial ${serial}, ends ${notAfter.toISOString()})`;
}

function shown(name: string): string {
  return name === '' ? 'a CA without a name' : name.slice(0, 63);
}
