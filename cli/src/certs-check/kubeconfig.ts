import { parse } from 'yaml';
import { z } from 'zod';
import { asKeys, readPem } from './pem.ts';
import { type Contents, emptyContents, type FoundKey, type PathProblem, type WalkedFile } from './types.ts';

/** What is read of a kubeconfig (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/); all else in it is left alone. */
const kubeconfig = z.object({
  clusters: z
    .array(
      z.object({
        name: z.string(),
        cluster: z
          .object({ 'certificate-authority-data': z.string().optional(), 'certificate-authority': z.string().optional() })
          .nullish(),
      }),
    )
    .nullish(),
  users: z
    .array(
      z.object({
        name: z.string(),
        user: z
          .object({
            'client-certificate-data': z.string().optional(),
            'client-certificate': z.string().optional(),
            'client-key-data': z.string().optional(),
            'client-key': z.string().optional(),
          })
          .nullish(),
      }),
    )
    .nullish(),
});

/** By its kind, in YAML or JSON. */
export function isKubeconfig(text: string): boolean {
  return /^\s*["']?kind["']?\s*:\s*["']?Config["']?\s*,?\s*$/m.test(text) || /"kind"\s*:\s*"Config"/.test(text);
}

/** Embedded certificates and keys, each user's as a pair, and references to files elsewhere. */
export function readKubeconfig(file: WalkedFile, text: string): Contents {
  const { path } = file;
  const contents = emptyContents();
  const parsed = parseKubeconfig(path, text);
  if ('problem' in parsed) return { ...contents, problems: [parsed.problem] };

  for (const { name, cluster } of parsed.clusters ?? []) {
    const data = cluster?.['certificate-authority-data'];
    if (data !== undefined) {
      const found = readPem(file, `${path}#cluster/${name}`, decode(data));
      contents.certificates.push(...found.certificates.map((one) => ({ ...one, embeddedCa: true })));
      contents.problems.push(...found.problems, ...nothing(path, `certificate-authority-data of the cluster ${name}`, found.certificates));
    }
    const reference = cluster?.['certificate-authority'];
    if (data === undefined && reference) contents.references.push({ kubeconfig: file, certificate: reference, key: undefined });
  }

  for (const { name, user } of parsed.users ?? []) {
    const slot = `${path}#user/${name}`;
    const certificate = user?.['client-certificate-data'];
    const key = user?.['client-key-data'];
    if (certificate !== undefined) {
      const found = readPem(file, slot, decode(certificate));
      contents.certificates.push(...found.certificates);
      contents.problems.push(...found.problems, ...nothing(path, `client-certificate-data of the user ${name}`, found.certificates));
    }
    if (key !== undefined) contents.keys.push(...keysOf(file, slot, name, decode(key), contents.problems));
    const reference = user?.['client-certificate'];
    if (certificate === undefined && reference) {
      contents.references.push({ kubeconfig: file, certificate: reference, key: user?.['client-key'] });
    }
  }
  return contents;
}

function parseKubeconfig(path: string, text: string): z.infer<typeof kubeconfig> | { problem: PathProblem } {
  try {
    const result = kubeconfig.safeParse(parse(text, { logLevel: 'silent', maxAliasCount: 100 }));
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    return { problem: { path, code: 'Malformed', message: `not a kubeconfig: ${issue!.path.join('.')}: ${issue!.message}` } };
  } catch (error) {
    return { problem: { path, code: 'Malformed', message: `not a kubeconfig: ${(error as Error).message.split('\n')[0]}` } };
  }
}

function keysOf(file: WalkedFile, slot: string, user: string, pem: string, problems: PathProblem[]): FoundKey[] {
  try {
    const keys = asKeys(file, slot, pem);
    problems.push(...nothing(file.path, `client-key-data of the user ${user}`, keys));
    return keys;
  } catch (error) {
    problems.push({ path: file.path, code: 'Malformed', message: `client-key-data of the user ${user}: ${(error as Error).message}` });
    return [];
  }
}

function nothing(path: string, what: string, found: readonly unknown[]): PathProblem[] {
  return found.length > 0 ? [] : [{ path, code: 'Malformed', message: `${what} holds none` }];
}

function decode(data: string): string {
  return Buffer.from(data, 'base64').toString('latin1');
}
