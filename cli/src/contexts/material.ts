import type { KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { formatFileMode } from '@evercert/shared/config';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, privateKeyFromPem } from '@evercert/shared/x509';
import type { ResolvedContext } from './resolve.ts';

/** What a context's files hold. */
export interface ContextMaterial {
  server: string;
  /** `server`, then the others; each once. */
  endpoints: string[];
  /** DER. */
  trustAnchors: Buffer[];
  /** DER, leaf first. */
  chain: Buffer[];
  privateKey: KeyObject;
}

const maxBytes = 1024 * 1024;
/** Read, write or execute by users that are neither the owner nor in the group. */
const othersMask = 0o007;

/** Reads a context's files. InvalidConfig names the context and the file that is missing, unreadable, malformed or too widely readable. */
export async function loadMaterial(context: ResolvedContext): Promise<ContextMaterial> {
  const { text: keyText, mode } = await read(context, 'clientKey');
  if ((mode & othersMask) !== 0) {
    throw fault(
      context,
      'clientKey',
      `has mode ${formatFileMode(mode & 0o777)}, so that others may use it: chmod 0600 it, and have a new admin certificate made if others were on this machine`,
    );
  }
  return {
    server: context.server,
    endpoints: [...new Set([context.server, ...(context.endpoints ?? [])])],
    trustAnchors: parsed(context, 'certificateAuthority', (await read(context, 'certificateAuthority')).text, certificatesFromPem),
    chain: parsed(context, 'clientCertificate', (await read(context, 'clientCertificate')).text, certificatesFromPem),
    privateKey: parsed(context, 'clientKey', keyText, privateKeyFromPem),
  };
}

type FileField = 'certificateAuthority' | 'clientCertificate' | 'clientKey';

async function read(context: ResolvedContext, field: FileField): Promise<{ text: string; mode: number }> {
  const path = context[field];
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { mode, size } = await file.stat();
    if (size > maxBytes) throw new EvercertError('InvalidConfig', `it has ${size} bytes, expected at most ${maxBytes}`);
    return { text: await file.readFile('utf8'), mode };
  } catch (error) {
    throw toEvercertError(error, 'InvalidConfig', `context "${context.name}" in ${context.file}: cannot read its ${field} ${path}`);
  }
}

function parsed<T>(context: ResolvedContext, field: FileField, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    throw fault(context, field, error instanceof Error ? error.message : String(error));
  }
}

function fault(context: ResolvedContext, field: FileField, text: string): EvercertError {
  return new EvercertError('InvalidConfig', `context "${context.name}" in ${context.file}: ${field} ${context[field]}: ${text}`);
}
