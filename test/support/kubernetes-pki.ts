/** A Kubernetes cluster's certificates, made in the test itself: for a real API server without a coordinator. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
  toPem,
  type Usage,
} from '@evercert/shared/x509';
import { stringify } from 'yaml';

const keyAlgorithm = 'ecdsa-p256';
const backdateMs = 60_000;
const lifetimeMs = 86_400_000;

export interface PairFiles {
  certificate: string;
  privateKey: string;
}

export interface KubernetesPki {
  /** ca.crt and ca.key are the cluster's CA; sa.key signs service accounts' tokens. */
  caFile: string;
  caKeyFile: string;
  serviceAccountKeyFile: string;
  serviceAccountPublicKeyFile: string;
  /** For `https://127.0.0.1:PORT`, the names that pods use, and more names. */
  server(name: string, dnsNames?: string[]): Promise<PairFiles>;
  client(name: string, user: { commonName: string; organizations?: string[] }): Promise<PairFiles>;
}

export async function createKubernetesPki(folder: string): Promise<KubernetesPki> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const put = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const nowMs = systemClock.nowMs();
  const times = { notBefore: new Date(nowMs - backdateMs), notAfter: new Date(nowMs + lifetimeMs) };
  const caKey = (await generateKeyPair(keyAlgorithm)).privateKey;
  const signer = signerFor(caKey);
  const caTimes = { ...times, notAfter: new Date(nowMs + 2 * lifetimeMs) };
  const ca = await prepareIssuer(
    await createRootCertificate({ commonName: 'kubernetes', signer, serial: newSerial(), ...caTimes }),
    signer,
  );
  const leaf = async (name: string, profile: { commonName: string; organizations: string[]; usages: Usage[]; dnsNames: string[] }) => {
    const { commonName, organizations, usages, dnsNames } = profile;
    const { privateKey, publicKey } = await generateKeyPair(keyAlgorithm);
    const certificate = await issueLeaf(ca, {
      spki: spkiDer(publicKey),
      keyAlgorithm,
      profile: {
        commonName,
        organizations,
        dnsNames,
        ipAddresses: dnsNames.length > 0 ? ['127.0.0.1', '10.96.0.1'] : [],
        uris: [],
        usages,
      },
      serial: newSerial(),
      ...times,
    });
    return {
      certificate: put(`${name}.crt`, certificatesToPem([certificate])),
      privateKey: put(`${name}.key`, privateKeyToPem(privateKey)),
    };
  };
  const serviceAccounts = await generateKeyPair(keyAlgorithm);
  return {
    caFile: put('ca.crt', certificatesToPem([ca.der])),
    caKeyFile: put('ca.key', privateKeyToPem(caKey)),
    serviceAccountKeyFile: put('sa.key', privateKeyToPem(serviceAccounts.privateKey)),
    serviceAccountPublicKeyFile: put('sa.pub', toPem('PUBLIC KEY', spkiDer(serviceAccounts.publicKey))),
    server: (name, dnsNames = []) =>
      leaf(name, {
        commonName: name,
        organizations: [],
        usages: ['digital signature', 'server auth'],
        dnsNames: ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', ...dnsNames],
      }),
    client: (name, { commonName, organizations = [] }) =>
      leaf(name, { commonName, organizations, usages: ['digital signature', 'client auth'], dnsNames: [] }),
  };
}

/** A kubeconfig with one context. */
export function kubeconfigText(server: string, caFile: string, user: PairFiles | { token: string }): string {
  const credentials = 'token' in user ? { token: user.token } : { 'client-certificate': user.certificate, 'client-key': user.privateKey };
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority': caFile } }],
    users: [{ name: 'test', user: credentials }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  });
}
