import { dirname, resolve } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { type Context, type ContextsFile, readContexts } from './file.ts';

/** A context with absolute paths. */
export interface ResolvedContext extends Context {
  /** The file that it stands in. */
  file: string;
}

/** The context that a command uses: the named one, else the file's current one. InvalidConfig: there is none. */
export async function resolveContext(path: string, name: string | undefined): Promise<ResolvedContext> {
  const file = await readContexts(path);
  const entry = findContext(file, path, name ?? file.currentContext);
  const from = (relative: string): string => resolve(dirname(path), relative);
  return {
    ...entry,
    certificateAuthority: from(entry.certificateAuthority),
    clientCertificate: from(entry.clientCertificate),
    clientKey: from(entry.clientKey),
    file: path,
  };
}

export function findContext(file: ContextsFile, path: string, name: string): Context {
  const entry = file.contexts.find((context) => context.name === name);
  if (entry) return entry;
  const known = file.contexts.map((context) => context.name);
  if (known.length === 0) {
    throw new EvercertError(
      'InvalidConfig',
      `there is no context in ${path}: the coordinator writes one to admin/config.yaml in its data folder at its first start; name it with --config or EVERCERT_CONFIG, or use 'evercert config set-context'`,
    );
  }
  const next = `choose one of ${known.join(', ')} with --context or 'evercert config use-context'`;
  throw new EvercertError(
    'InvalidConfig',
    name === '' ? `no current context is set in ${path}: ${next}` : `no context is named "${name}" in ${path}: ${next}`,
  );
}
