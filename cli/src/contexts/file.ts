import { mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { hostPort, readConfigFile } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';
import { stringify } from 'yaml';
import { z } from 'zod';

const context = z.strictObject({
  name: z.string().min(1).max(253),
  /** HOST:PORT of the coordinator. */
  server: hostPort(),
  /** Other coordinators of the same store, as HOST:PORT: tried in turn while `server` cannot be reached. */
  endpoints: z.array(hostPort()).max(16).optional(),
  /** PEM files; relative paths are relative to the contexts file. */
  certificateAuthority: z.string().min(1),
  clientCertificate: z.string().min(1),
  clientKey: z.string().min(1),
  /** Cluster of commands that name none. */
  cluster: z.string().min(1).optional(),
});

const contextsFile = z.strictObject({
  currentContext: z.string().default(''),
  contexts: z.array(context).max(1000).default([]),
});

export type Context = z.infer<typeof context>;
export type ContextsFile = z.infer<typeof contextsFile>;

/** Which file: `--config`, else EVERCERT_CONFIG, else ~/.config/evercert/config.yaml. */
export function contextsPath(options: {
  config?: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  homeDir: string;
  cwd: string;
}): string {
  const named = options.config ?? options.env['EVERCERT_CONFIG'];
  return named ? resolve(options.cwd, named) : join(options.homeDir, '.config', 'evercert', 'config.yaml');
}

/** The file's contexts; an empty list when there is no such file. InvalidConfig with file and line for anything wrong in it. */
export async function readContexts(path: string): Promise<ContextsFile> {
  if (!(await exists(path))) return { currentContext: '', contexts: [] };
  return readConfigFile(contextsFile, path);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw toFileError(error, 'read', path);
  }
}

/** Replaces the file in one step; its folder is made with mode 0700, the file has mode 0600. InvalidConfig: what would be written is not valid. */
export async function writeContexts(path: string, contexts: ContextsFile): Promise<void> {
  const checked = contextsFile.safeParse(contexts);
  if (!checked.success) {
    const faults = checked.error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
    throw new EvercertError('InvalidConfig', 'the context is not valid; nothing was written', { faults });
  }
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toFileError(error, 'make the folder', dirname(path));
  }
  await writeFileDurable(path, stringify(contexts), { mode: 0o600 });
}
