/** Puts a desired state into effect: bundles and revocation lists first, then the certificates that depend on them; shared key pairs beside them. */
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { CertificateManager } from '../certificates/manager.ts';
import type { EventSink } from '../events.ts';
import type { HealthChecker } from '../health/checker.ts';
import type { BundleKeeper } from '../plain/bundles.ts';
import type { KeyPairKeeper } from '../plain/key-pairs.ts';
import type { RevocationListKeeper } from '../plain/revocation-lists.ts';
import type { DesiredState } from './types.ts';

export interface ApplierOptions {
  bundles: Pick<BundleKeeper, 'apply'>;
  revocationLists: Pick<RevocationListKeeper, 'apply'>;
  keyPairs: Pick<KeyPairKeeper, 'apply'>;
  certificates: Pick<CertificateManager, 'setDesired'>;
  healthChecks: Pick<HealthChecker, 'apply'>;
  takeTrustAnchors: (anchors: Buffer[], retiredPins: string[]) => Promise<boolean>;
  events: EventSink;
  logger: Logger;
  onChange: () => void;
}

export class DesiredApplier {
  readonly #options: ApplierOptions;
  #next: DesiredState | undefined;
  #running: Promise<void> | undefined;
  #appliedRevision = '';

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** Revision that is in effect; empty before the first. */
  get appliedRevision(): string {
    return this.#appliedRevision;
  }

  /** Resolves when this state, or a newer one that came meanwhile, is in effect. Never rejects. */
  apply(state: DesiredState): Promise<void> {
    this.#next = state;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #run(): Promise<void> {
    for (let state = this.#next; state; state = this.#next) {
      this.#next = undefined;
      await this.#applyOne(state);
    }
  }

  async #applyOne(state: DesiredState): Promise<void> {
    const { bundles, revocationLists, keyPairs, certificates, events, logger, onChange } = this.#options;
    const { revision } = state;
    const keep = state.notUnderstood.map(({ name }) => name);
    for (const { name, message } of state.notUnderstood) {
      events.record({
        reason: 'NotUnderstood',
        type: 'Warning',
        certificate: name,
        message: `${name} is declared in a way that this agent does not understand; what is there stays: ${message}`,
      });
    }
    await this.#step('the trust anchors of the coordinator', () =>
      this.#options.takeTrustAnchors(state.controlTrustAnchors, state.retiredControlCaPins),
    );
    await this.#step('the trust bundles', () => bundles.apply(state.bundles, keep));
    await this.#step('the revocation lists', () => revocationLists.apply(state.revocationLists, keep));
    await this.#step('the certificates', () =>
      certificates.setDesired(state.certificates, { changed: revision !== this.#appliedRevision, keep }),
    );
    // Not awaited: it needs the coordinator, which may be away, and nothing below depends on it.
    void this.#step('the shared key pairs', () => keyPairs.apply(state.keyPairs, keep));
    this.#options.healthChecks.apply(state.healthChecks);
    this.#appliedRevision = revision;
    logger.info('A desired state is in effect', {
      revision,
      certificates: state.certificates.length,
      bundles: state.bundles.length,
      keyPairs: state.keyPairs.length,
      revocationLists: state.revocationLists.length,
    });
    onChange();
  }

  async #step(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#options.events.record({
        reason: 'ApplyFailed',
        type: 'Warning',
        errorCode: error.code,
        message: `${what} of the desired state could not be put into effect: ${error.message}`,
      });
    }
  }
}
