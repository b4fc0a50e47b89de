/** Keeps the trust bundles: CA certificates in files that components read. */
import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, certificatesToPem, parseCertificate } from '@evercert/shared/x509';
import type { BundleActivator } from '../authorities/activator.ts';
import type { DesiredBundle } from '../desired/types.ts';
import type { PlainFileSpec } from '../files/types.ts';
import { FileKeeper, type FileKeeperOptions, type FileSnapshot } from './file-keeper.ts';

export interface BundleSnapshot extends FileSnapshot {
  /** "", "Served", "NotServed", "Unreachable": what its component was seen to do with it. */
  served: string;
  servedMessage: string;
  /** Its component is still to be told to read it. */
  reloadOwed: boolean;
}

export interface BundleKeeperOptions extends FileKeeperOptions {
  /** Makes components take bundles up, and looks whether they have. */
  activator: Pick<BundleActivator, 'writing' | 'written' | 'declared' | 'served' | 'scan'>;
}

export class BundleKeeper extends FileKeeper<DesiredBundle> {
  readonly #activator: BundleKeeperOptions['activator'];

  constructor(options: BundleKeeperOptions) {
    const { activator } = options;
    super(
      {
        noun: 'trust bundle',
        failed: 'BundleFailed',
        version: ({ version }) => version,
        content: plainFile,
        sameMeaning,
        writing: (bundle) => activator.writing(bundle),
        written: (bundle) => activator.written(bundle),
      },
      options,
    );
    this.#activator = activator;
  }

  override async apply(bundles: DesiredBundle[], keep: string[] = []): Promise<void> {
    await super.apply(bundles, keep);
    await this.#activator.declared(this.inPlace());
  }

  override async scan(): Promise<void> {
    await super.scan();
    await this.#activator.scan();
  }

  snapshots(): BundleSnapshot[] {
    return this.states().map((state) => ({ ...state, ...this.#activator.served(state.name, state.version) }));
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
