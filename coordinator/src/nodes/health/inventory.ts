import type { Logger } from '@evercert/shared/logging';
import { normalizeSerial } from '@evercert/shared/x509';
import { fingerprintOf } from '../../state/fingerprint.ts';
import { layout } from '../../state/layout.ts';
import { type CertificateRecord, decodeRecord } from '../../state/records.ts';
import type { Store } from '../../store/index.ts';
import type { Origin } from './types.ts';

/** Serial numbers remembered; beyond, the oldest is looked up again. */
const maxKnown = 50_000;

export interface InventoryOptions {
  store: Store;
  logger: Logger;
  /** Called when a node's certificate has been looked up. */
  found: (cluster: string, node: string) => void;
}

/** A certificate as a node reports it; no fingerprint: its agent is of an earlier release. */
export interface InUse {
  serial: string;
  fingerprint?: string | undefined;
}

/**
 * Tells where a certificate comes from that is in use on a node and is not the newest of its name: the coordinator issued it to this node under this name, or it did not. What is not known yet is
 * looked up in the store; until then it counts as nothing wrong.
 */
export class Inventory {
  readonly #options: InventoryOptions;
  readonly #known = new Map<string, Origin>();
  readonly #asked = new Set<string>();

  constructor(options: InventoryOptions) {
    this.#options = options;
  }

  originOf(cluster: string, node: string, name: string, { serial, fingerprint = '' }: InUse): Origin {
    if (serial === '') return 'unchecked';
    const key = `${cluster}/${node}/${name}/${serial}/${fingerprint.slice(0, 64)}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (!this.#asked.has(key)) {
      this.#asked.add(key);
      void this.#lookUp(key, cluster, node, name, { serial, fingerprint });
    }
    return 'unchecked';
  }

  async #lookUp(key: string, cluster: string, node: string, name: string, { serial, fingerprint }: InUse): Promise<void> {
    const { store, logger, found } = this.#options;
    try {
      const certificateKey = layout.certificate(cluster, normalizeSerial(serial));
      const entry = await store.get(certificateKey);
      const record = entry && decodeRecord<CertificateRecord>(certificateKey, entry.value);
      if (this.#known.size >= maxKnown) this.#known.delete(this.#known.keys().next().value ?? '');
      const ours = record?.node === node && record.name === name && (!fingerprint || fingerprint === fingerprintOf(record));
      this.#known.set(key, ours ? 'superseded' : 'unknown');
      found(cluster, node);
    } catch (error) {
      // Asked again with the node's next report.
      logger.warn('cannot look up a certificate that a node reports', { cluster, node, certificate: name, error: String(error) });
    } finally {
      this.#asked.delete(key);
    }
  }
}
