import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { parse } from 'yaml';
import { z } from 'zod';

/** What a kubeconfig's current context says, as TLS takes it. */
export interface KubeconfigCredential {
  /** `https://HOST:PORT` */
  server: string;
  ca: Buffer;
  certificate: Buffer;
  privateKey: Buffer;
}

const text = z.string().optional();
const kubeconfig = z.looseObject({
  'current-context': z.string(),
  contexts: z.array(z.looseObject({ name: z.string(), context: z.looseObject({ cluster: z.string(), user: z.string() }) })),
  clusters: z.array(
    z.looseObject({
      name: z.string(),
      cluster: z.looseObject({ server: z.string(), 'certificate-authority': text, 'certificate-authority-data': text }),
    }),
  ),
  users: z.array(
    z.looseObject({
      name: z.string(),
      user: z.looseObject({ 'client-certificate': text, 'client-certificate-data': text, 'client-key': text, 'client-key-data': text }),
    }),
  ),
});

/** Reads a kubeconfig as kubectl does at each invocation: the current context, with what is embedded or in the files that it names. FileSystem, InvalidArgument. */
export async function readKubeconfig(path: string): Promise<KubeconfigCredential> {
  const content = await readFile(path, 'utf8').catch((error: unknown) => {
    throw toEvercertError(error, 'FileSystem', `cannot read the kubeconfig ${path}`);
  });
  const parsed = kubeconfig.safeParse(parse(content, { logLevel: 'silent' }));
  if (!parsed.success)
    throw new EvercertError('InvalidArgument', `${path} is no kubeconfig: ${parsed.error.issues[0]?.path.join('.')} is wrong`);
  const { contexts, clusters, users, 'current-context': current } = parsed.data;
  const context = contexts.find(({ name }) => name === current)?.context;
  const cluster = clusters.find(({ name }) => name === context?.cluster)?.cluster;
  const user = users.find(({ name }) => name === context?.user)?.user;
  if (!cluster || !user)
    throw new EvercertError('InvalidArgument', `the current context of ${path} names a cluster or a user that is not there`);
  const bytes = async (what: string, data: string | undefined, file: string | undefined): Promise<Buffer> => {
    if (data !== undefined) return Buffer.from(data, 'base64');
    if (file !== undefined) return await readFile(resolve(dirname(path), file));
    throw new EvercertError('InvalidArgument', `${path} has neither ${what} nor ${what}-data`);
  };
  return {
    server: cluster.server,
    ca: await bytes('certificate-authority', cluster['certificate-authority-data'], cluster['certificate-authority']),
    certificate: await bytes('client-certificate', user['client-certificate-data'], user['client-certificate']),
    privateKey: await bytes('client-key', user['client-key-data'], user['client-key']),
  };
}
