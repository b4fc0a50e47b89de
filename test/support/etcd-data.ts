/** Reads and writes single keys of a local cluster's etcd, with the certificates that lie on the node. */
import { readFile } from 'node:fs/promises';
import type { WriterMember } from '@evercert/local';
import { KVClient, RangeRequest } from '@evercert/proto/etcd';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { certificatesFromPem, privateKeyFromPem } from '@evercert/shared/x509';
import { deadline } from './coordinator.ts';

async function withClient<T>({ target, files }: WriterMember, use: (client: KVClient) => Promise<T>): Promise<T> {
  const [ca, certificate, privateKey] = await Promise.all([files.ca, files.certificate, files.privateKey].map((path) => readFile(path)));
  const credentials = createClientCredentials({
    trustAnchors: certificatesFromPem(ca as Buffer),
    chain: certificatesFromPem(certificate as Buffer),
    privateKey: privateKeyFromPem(privateKey as Buffer),
  });
  const client = new KVClient(target, credentials, { 'grpc.use_local_subchannel_pool': 1 });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

export async function putKey(member: WriterMember, key: string, value: string): Promise<void> {
  const request = { key: Buffer.from(key), value: Buffer.from(value), lease: '0' };
  await withClient(member, (client) => unary(client.put.bind(client), request, deadline));
}

/** A linearizable read: it needs the quorum. */
export async function getKey(member: WriterMember, key: string): Promise<string | undefined> {
  const request = RangeRequest.create({ key: Buffer.from(key), limit: 1 });
  const { kvs } = await withClient(member, (client) => unary(client.range.bind(client), request, deadline));
  return kvs[0]?.value.toString();
}
