import { entryRecord, type MatchedCertificate, Revocations } from '@evercert/coordinator/revocation';
import type { Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { loadDocuments, type RenewRevocation } from '@evercert/shared/manifest';

/** Matching reads nothing: a store that is asked for anything fails the test. */
const noStore = new Proxy({} as Store, {
  get: (_target, name) => {
    throw new Error(`matching called ${String(name)} of the store`);
  },
});

/** Objects of the cluster `demo`, by hand, without a store. */
export class Objects {
  readonly revocations: Revocations;
  #revision = 0;

  constructor(clock = new FakeClock()) {
    this.revocations = new Revocations({ store: noStore, logger: silentLogger, clock });
  }

  /** Puts an object with these entries in force. */
  put(name: string, entries: RenewRevocation['spec']['revocations'], nowMs = 0): void {
    const before = this.revocations.get('demo', name);
    const records = entries.map((entry) => entryRecord(entry, before?.entries ?? [], nowMs));
    const common = { cluster: 'demo', name, namespace: '', description: '', generation: 1, source: 'test', yaml: '' };
    const record = { ...common, apiVersion: 'evercert.io/v1' as const, entries: records, createdAtMs: nowMs, updatedAtMs: nowMs };
    this.revocations.objects.accept(`/evercert/v1/revocations/demo/${name}`, record, ++this.#revision);
  }

  drop(name: string): void {
    this.revocations.objects.drop(`/evercert/v1/revocations/demo/${name}`, ++this.#revision);
  }
}

/** Entries as they stand in YAML, each a flow mapping. */
export function entriesOf(...entries: string[]): RenewRevocation['spec']['revocations'] {
  const text = `apiVersion: evercert.io/v1\nkind: RenewRevocation\nmetadata: { name: x }\nspec:\n  revocations:\n${entries.map((entry) => `  - ${entry}\n`).join('')}`;
  const [parsed] = loadDocuments([{ file: 'r.yaml', text }]);
  return (parsed!.document as RenewRevocation).spec.revocations;
}

export function certificateOf(fields: Partial<MatchedCertificate> = {}): MatchedCertificate {
  return {
    cluster: 'demo',
    serial: 'f00d',
    commonName: 'unmatched',
    organizations: [],
    dnsNames: [],
    ipAddresses: [],
    uris: [],
    issuedAtMs: Date.parse('2026-06-01T12:00:00Z'),
    ...fields,
  };
}
