/** Keeps the CRLs: signed lists of what is revoked, in files that components read. */
import { EvercertError } from '@evercert/shared/errors';
import { parseCrl, toPem, verifyCrl } from '@evercert/shared/x509';
import type { DesiredRevocationList } from '../desired/types.ts';
import type { PlainFileSpec } from '../files/types.ts';
import { FileKeeper, type FileKeeperOptions } from './file-keeper.ts';

export interface RevocationListSnapshot {
  name: string;
  issuer: string;
  /** CRL number of what is in the file, 0 while nothing is. */
  number: number;
  /** "Ready", "Pending" or "Failed". */
  state: string;
  lastError: string;
}

export class RevocationListKeeper extends FileKeeper<DesiredRevocationList> {
  constructor(options: FileKeeperOptions) {
    super({ noun: 'revocation list', failed: 'RevocationListFailed', version: ({ number }) => number, content: plainFile }, options);
  }

  snapshots(): RevocationListSnapshot[] {
    return this.states().map(({ version, ...rest }) => ({ ...rest, number: version }));
  }
}

/** Components refuse everybody when their list is damaged, foreign or gone: only a list that one of the trusted CAs signed replaces what is there. */
async function plainFile({ name, number, crl, earlierCrls, format, file, trustAnchors }: DesiredRevocationList): Promise<PlainFileSpec> {
  if (crl.length === 0) {
    throw new EvercertError('FailedPrecondition', `the coordinator has no CRL for ${name} now; what is in the file stays`);
  }
  const stated = parseCrl(crl).number;
  if (stated !== BigInt(number)) {
    throw new EvercertError(
      'InvalidCertificate',
      `the CRL that was sent for ${name} has number ${stated}, not ${number}; the present file is kept`,
    );
  }
  // The first is what programs read that read one alone; behind it those of the CA's earlier keys.
  const lists = format === 'der' ? [crl] : [crl, ...earlierCrls];
  for (const list of lists) await verifyByAny(list, trustAnchors, name);
  return { ...file, content: format === 'der' ? crl : Buffer.from(lists.map((list) => toPem('X509 CRL', list)).join('')) };
}

/** During a rotation a CA has two certificates. */
async function verifyByAny(crl: Buffer, trustAnchors: Buffer[], name: string): Promise<void> {
  let last: unknown = new EvercertError('InvalidCertificate', `the CRL for ${name} came without the CA that signed it`);
  for (const anchor of trustAnchors) {
    try {
      return await verifyCrl(crl, anchor);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}
