import { createHash, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, pairMatches, privateKeyFromPem } from '@evercert/shared/x509';

export type Layout = 'founding' | 'kubeadm';

/** What a client of a node's etcd member reads from the node, as the node's API server does. */
export interface ClientFiles {
  certificate: string;
  privateKey: string;
  /** CA that signs etcd's server certificates. */
  ca: string;
  /** The member's own certificate, watched only: a new one calls for a new handshake. */
  server: string;
}

/** What `createClientCredentials` takes. */
export interface ClientMaterial {
  trustAnchors: Buffer[];
  chain: Buffer[];
  privateKey: KeyObject;
  /** SHA-256 over all of it, and over the server's certificate. */
  fingerprint: string;
}

/** etcd's server certificate comes from the Cluster CA in the founding layout, from the etcd CA in kubeadm's. */
export function etcdClientFiles(pkiDir: string, layout: Layout): ClientFiles {
  return {
    certificate: join(pkiDir, 'apiserver-etcd-client.crt'),
    privateKey: join(pkiDir, 'apiserver-etcd-client.key'),
    ca: layout === 'founding' ? join(pkiDir, 'ca.crt') : join(pkiDir, 'etcd', 'ca.crt'),
    server: join(pkiDir, 'etcd', 'server.crt'),
  };
}

const tries = 5;
const pauseMs = 20;

/** Reads certificate and key until they fit each other: a switch of the pair may come between the two reads. PairMismatch or FileSystem when they do not in 100 ms. */
export async function readClientMaterial(files: ClientFiles, clock: Clock): Promise<ClientMaterial> {
  for (let i = 1; ; i++) {
    try {
      return await readOnce(files);
    } catch (error) {
      if (i >= tries) throw toEvercertError(error, 'FileSystem', `cannot use the client certificate ${files.certificate}`);
    }
    await clock.sleep(pauseMs);
  }
}

async function readOnce(files: ClientFiles): Promise<ClientMaterial> {
  const paths = [files.certificate, files.privateKey, files.ca, files.server];
  const [certificate, privateKey, ca, server] = await Promise.all(paths.map((path) => readFile(path)));
  if (!certificate || !privateKey || !ca || !server) throw new EvercertError('FileSystem', 'a file was not read');
  const chain = certificatesFromPem(certificate);
  const key = privateKeyFromPem(privateKey);
  if (!chain[0] || !pairMatches(chain[0], key)) {
    throw new EvercertError('PairMismatch', `${files.certificate} and ${files.privateKey} do not belong together`);
  }
  const fingerprint = createHash('sha256');
  for (const content of [certificate, privateKey, ca, server]) fingerprint.update(createHash('sha256').update(content).digest());
  return { trustAnchors: certificatesFromPem(ca), chain, privateKey: key, fingerprint: fingerprint.digest('hex') };
}
