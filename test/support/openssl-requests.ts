/** PKCS#10 requests by OpenSSL: with whatever Evercert's own library would not write. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from './tools.ts';

export interface ForeignRequest {
  /** As `-subj` takes it: `/O=system:nodes/CN=system:node:worker-1`. */
  subject: string;
  /** As openssl.cnf takes them: `DNS:a.example`, `email:a@b.example`. */
  names?: string[];
  /** More extensions, as openssl.cnf takes them: `basicConstraints=critical,CA:TRUE`. */
  extensions?: string[];
  /** `NAME:ALGORITHM`; the same name is the same key. Default: an EC P-256 key of its own. */
  key?: string;
}

const algorithms = {
  ec: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  rsa3072: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:3072'],
  rsa2048: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  ed25519: ['-algorithm', 'ED25519'],
} as const;

/** PEM. Keys stay in the folder. */
export async function foreignRequest(openssl: string, folder: string, name: string, wanted: ForeignRequest): Promise<string> {
  const { subject, names = [], extensions = [], key = `${name}:ec` } = wanted;
  const [keyName = name, algorithm = 'ec'] = key.split(':') as [string, keyof typeof algorithms];
  const keyFile = join(folder, `${keyName}.key`);
  if (!existsSync(keyFile)) await runOk(openssl, ['genpkey', ...algorithms[algorithm], '-out', keyFile]);
  const config = join(folder, `${name}.cnf`);
  const wantedExtensions = [...extensions, ...(names.length > 0 ? [`subjectAltName=${names.join(',')}`] : [])];
  writeFileSync(config, `[req]\ndistinguished_name=dn\n[dn]\n[extensions]\n${wantedExtensions.join('\n')}\n`);
  const file = join(folder, `${name}.csr`);
  const more = wantedExtensions.length > 0 ? ['-reqexts', 'extensions'] : [];
  await runOk(openssl, ['req', '-new', '-utf8', '-key', keyFile, '-config', config, '-subj', subject, ...more, '-out', file]);
  return readFileSync(file, 'utf8');
}
