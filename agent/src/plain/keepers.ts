/** All that the agent keeps besides certificates: trust bundles, revocation lists and shared key pairs. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import type { BundleActivator } from '../authorities/activator.ts';
import type { CoordinatorApi } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import type { PlainFiles } from '../files/types.ts';
import type { Reloader } from '../reload/types.ts';
import type { StateFolder } from '../state/folder.ts';
import { BundleKeeper, type BundleSnapshot } from './bundles.ts';
import { KeyPairKeeper, type KeyPairSnapshot } from './key-pairs.ts';
import { FileLedger } from './ledger.ts';
import { RevocationListKeeper, type RevocationListSnapshot } from './revocation-lists.ts';

export interface PlainKeepersOptions {
  api: CoordinatorApi;
  files: PlainFiles;
  folder: StateFolder;
  events: EventSink;
  logger: Logger;
  clock: Clock;
  /** In [0, 1). */
  random: () => number;
  reload: Reloader;
  /** What makes components take up trust bundles. */
  bundleActivator: BundleActivator;
  onChange: () => void;
}

export class PlainKeepers {
  readonly bundles: BundleKeeper;
  readonly revocationLists: RevocationListKeeper;
  readonly keyPairs: KeyPairKeeper;
  readonly #events: EventSink;
  readonly #reload: Reloader;

  constructor(options: PlainKeepersOptions) {
    const { files, folder, events, logger } = options;
    this.#events = events;
    this.#reload = options.reload;
    const ledger = (fileName: string): FileLedger => new FileLedger({ folder, fileName, files, logger });
    const common = { ...options, reload: (name: string, spec: ReloadSpec): void => void this.#reloadFor(name, spec) };
    this.bundles = new BundleKeeper({ ...common, ledger: ledger('bundles.json'), activator: options.bundleActivator });
    this.revocationLists = new RevocationListKeeper({ ...common, ledger: ledger('revocation-lists.json') });
    this.keyPairs = new KeyPairKeeper({ ...common, ledger: ledger('key-pairs.json') });
  }

  /** Declared files, as the node's configuration names them. */
  paths(): string[] {
    return [...this.bundles.paths(), ...this.revocationLists.paths(), ...this.keyPairs.paths()];
  }

  snapshots(): { bundles: BundleSnapshot[]; revocationLists: RevocationListSnapshot[]; keyPairs: KeyPairSnapshot[] } {
    return {
      bundles: this.bundles.snapshots(),
      revocationLists: this.revocationLists.snapshots(),
      keyPairs: this.keyPairs.snapshots(),
    };
  }

  /** One try; the next change or restart comes again. */
  async #reloadFor(name: string, spec: ReloadSpec): Promise<void> {
    try {
      await this.#reload(spec);
    } catch (caught) {
      const error = toEvercertError(caught);
      // The agent stops.
      if (error.code === 'Cancelled') return;
      this.#events.record({
        reason: 'ReloadFailed',
        type: 'Warning',
        certificate: name,
        errorCode: error.code,
        message: `the reload after a change of ${name} failed: ${error.message}`,
      });
    }
  }
}
