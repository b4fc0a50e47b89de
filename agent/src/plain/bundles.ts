/** Keeps the trust bundles: CA certificates in files that components read. */
import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, certificatesToPem, parseCertificate } from '@evercert/shared/x509';
import type { BundleActivator } from '../authorities/activator.ts';
import type { DesiredBundle } from '../desired/types.ts';
import type { PlainFileSpec } from '../files/types.ts';
import { FileKeeper, type FileKeeperOptions, type FileSnapshot } from './file-keeper.ts';

export type BundleSnapshot = FileSnapshot;
export type BundleKeeperOptions = FileKeeperOptions;

export class BundleKeeper extends FileKeeper<DesiredBundle> {
  constructor(options: BundleKeeperOptions) {
    super({ noun: 'trust bundle', failed: 'BundleFailed', version: ({ version }) => version, content: plainFile, sameMeaning }, options);
  }

  snapshots(): BundleSnapshot[] {
    return this.states();
  }
}

/** The same certificates, whatever stands between them. */
function sameMeaning(declared: Buffer, found: Buffer): boolean {
  const texts = (pem: Buffer): string => [...new Set(certificatesFromPem(pem).map((der) => der.toString('base64')))].sort().join();
  try {
    return texts(declared) === texts(found);
  } catch {
    // What cannot be read says nothing.
    return false;
  }
}

/** An empty bundle, or one that holds anything but certificates, would cut every component off: what is there stays. */
function plainFile({ name, certificates, file }: DesiredBundle): PlainFileSpec {
  if (certificates.length === 0) {
    throw new EvercertError(
      'InvalidCertificate',
      `the coordinator sent trust bundle ${name} without a certificate; the present file is kept`,
    );
  }
  for (const der of certificates) parseCertificate(der);
  return { ...file, content: Buffer.from(certificatesToPem(certificates)) };
}
