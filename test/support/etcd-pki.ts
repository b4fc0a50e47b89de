/** The certificates that an etcd member and its clients need, made in the test itself, in the founding layout: for tests of etcd and its writer without a coordinator. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  type PreparedIssuer,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
  type Usage,
} from '@evercert/shared/x509';

const keyAlgorithm = 'ecdsa-p384';
const backdateMs = 60_000;

export interface LeafFiles {
  certificate: string;
  privateKey: string;
}

export interface EtcdPki {
  /** Makes the node's CA files and every leaf; called again, it renews all leaves in place, each file by a rename. */
  writeNode(pkiDir: string, name: string, address: string, lifetimeSeconds: number): Promise<void>;
  /** A client certificate of the Cluster CA, as a kubelet holds it. */
  writeKubeletClient(folder: string): Promise<LeafFiles>;
}

export async function createEtcdPki(): Promise<EtcdPki> {
  const clusterCa = await createCa('kubernetes-ca');
  const etcdCa = await createCa('etcd-ca');
  const leaf = async (
    issuer: PreparedIssuer,
    names: { commonName: string; address?: string },
    usages: Usage[],
    lifetimeSeconds: number,
  ) => {
    const { privateKey, publicKey } = await generateKeyPair(keyAlgorithm);
    const nowMs = systemClock.nowMs();
    const certificate = await issueLeaf(issuer, {
      spki: spkiDer(publicKey),
      keyAlgorithm,
      profile: {
        commonName: names.commonName,
        organizations: [],
        dnsNames: names.address ? [names.commonName, 'localhost'] : [],
        ipAddresses: names.address ? [names.address, '127.0.0.1'] : [],
        uris: [],
        usages,
      },
      serial: newSerial(),
      notBefore: new Date(nowMs - backdateMs),
      notAfter: new Date(nowMs + lifetimeSeconds * 1000),
    });
    return { certificate: certificatesToPem([certificate]), privateKey: privateKeyToPem(privateKey) };
  };
  const both: Usage[] = ['digital signature', 'server auth', 'client auth'];
  const client: Usage[] = ['digital signature', 'client auth'];
  return {
    async writeNode(pkiDir, name, address, lifetimeSeconds) {
      put(join(pkiDir, 'ca.crt'), certificatesToPem([clusterCa.der]));
      put(join(pkiDir, 'etcd', 'ca.crt'), certificatesToPem([etcdCa.der]));
      const pairs = {
        'etcd/server': await leaf(clusterCa, { commonName: name, address }, both, lifetimeSeconds),
        'etcd/peer': await leaf(etcdCa, { commonName: name, address }, both, lifetimeSeconds),
        'apiserver-etcd-client': await leaf(etcdCa, { commonName: 'kube-apiserver-etcd-client' }, client, lifetimeSeconds),
      };
      for (const [path, pair] of Object.entries(pairs)) writePair(join(pkiDir, path), pair);
    },
    async writeKubeletClient(folder) {
      const pair = await leaf(clusterCa, { commonName: 'system:node:worker-1' }, client, 600);
      return writePair(join(folder, 'kubelet'), pair);
    },
  };
}

async function createCa(commonName: string): Promise<PreparedIssuer> {
  const { privateKey } = await generateKeyPair(keyAlgorithm);
  const signer = signerFor(privateKey);
  const nowMs = systemClock.nowMs();
  const times = { notBefore: new Date(nowMs - backdateMs), notAfter: new Date(nowMs + 86_400_000) };
  return prepareIssuer(await createRootCertificate({ commonName, signer, serial: newSerial(), ...times }), signer);
}

function writePair(path: string, pair: { certificate: string; privateKey: string }): LeafFiles {
  const files = { certificate: `${path}.crt`, privateKey: `${path}.key` };
  put(files.certificate, pair.certificate);
  put(files.privateKey, pair.privateKey);
  return files;
}

function put(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
