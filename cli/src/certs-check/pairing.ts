import { basename, dirname, extname, join } from 'node:path';
import type { FoundCertificate, FoundKey, Inventory } from './types.ts';

export interface Pairing {
  status: 'matching' | 'mismatched' | 'missing' | 'encrypted' | 'elsewhere';
  key?: FoundKey;
}

/**
 * The key of a certificate: in its own file, where a kubeconfig says, by its name, and else any key of the folder that fits. A key that stands in one of the first three
 * places and does not fit is mismatched. CA certificates need none here: their keys are kept elsewhere.
 */
export function pairOf(certificate: FoundCertificate, { keys, pairs }: Pick<Inventory, 'keys' | 'pairs'>): Pairing {
  const fits = (key: FoundKey): boolean => key.spkiSha256 === certificate.info.spkiSha256;
  const own = keys.filter((key) => key.slot === certificate.slot);
  const referred = keys.filter((key) => key.path === pairs.get(certificate.path));
  const names = keyNames(certificate.path);
  const named = certificate.embeddedCa ? [] : keys.filter((key) => key.slot === key.path && names.includes(key.path));
  const expected = [own, referred, named].find((candidates) => candidates.length > 0) ?? [];
  const fitting = expected.find(fits) ?? (expected.length === 0 ? keys.find(fits) : undefined);
  if (fitting) return { status: 'matching', key: fitting };
  const [first] = expected;
  if (first) return { status: first.spkiSha256 === undefined ? 'encrypted' : 'mismatched', key: first };
  return { status: certificate.info.isCa ? 'elsewhere' : 'missing' };
}

/** Where a certificate file's key usually lies: apiserver.crt and apiserver.key, tls-cert.pem and tls-key.pem, fullchain.pem and privkey.pem. */
function keyNames(path: string): string[] {
  const folder = dirname(path);
  const extension = extname(path);
  const stem = basename(path, extension);
  const names = [`${stem}.key`, `${stem}-key${extension}`, `${stem}_key${extension}`];
  if (/(^|[-_.])cert(ificate)?$/i.test(stem))
    names.push(`${stem.replace(/cert(ificate)?$/i, 'key')}${extension}`, `${stem.replace(/[-_.]?cert(ificate)?$/i, '')}.key`);
  if (['fullchain', 'chain', 'cert'].includes(stem)) names.push(`privkey${extension}`);
  return names.map((name) => join(folder, name)).filter((name) => name !== path);
}
