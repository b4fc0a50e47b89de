import assert from 'node:assert/strict';
import { decodeRecord, type EventRecord, EventRecorder, type RevocationRecord } from '@evercert/coordinator';
import { auditEvent, revocationDetails, revocationOfDetails } from '@evercert/coordinator/audit';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { withCode } from '../../../support/node-calls.ts';

describe('revocations in the audit log', () => {
  const record = (entries: number): RevocationRecord => ({
    cluster: 'demo',
    name: 'stolen',
    namespace: '',
    apiVersion: 'evercert.io/v1',
    description: 'a laptop was stolen',
    entries: Array.from({ length: entries }, (_, index) => ({
      kind: 'SerialNumber',
      value: index.toString(16).padStart(32, '0'),
      description: `of ${index}`,
      reason: 'keyCompromise',
      includeSuccessors: true,
      successorSerials: ['ab'.repeat(16)],
      addedAtMs: 1_000_000 + index,
    })),
    generation: 3,
    createdAtMs: 1_000_000,
    updatedAtMs: 2_000_000,
    source: 'evercert apply',
    yaml: 'as it was applied',
  });
  const events = new EventRecorder({} as never, new FakeClock(), silentLogger);
  const told = (reason: string, details: Record<string, string | number | boolean | undefined>) => {
    const { key, value } = events.operation({ cluster: 'demo', actor: 'admin/ada', reason, message: '', details });
    return auditEvent(decodeRecord<EventRecord>(key, value));
  };

  it('are whole, so that they can be put back, be they short or long', () => {
    for (const entries of [1, 1000]) {
      const event = told('RenewRevocationApplied', revocationDetails(record(entries)));
      assert.ok(JSON.stringify(event).length < 100_000, 'a long one is packed');
      const found = revocationOfDetails(event.details ?? {});
      assert.ok(found);
      const { yaml, ...rest } = found;
      assert.deepEqual(rest, (({ yaml: _applied, ...others }) => others)(record(entries)));
      assert.match(yaml, /^apiVersion: evercert.io\/v1\nkind: RenewRevocation\n/);
    }
  });

  it('are told of by their own events alone', () => {
    assert.equal(revocationOfDetails(told('CertificateIssued', { issuer: 'cluster-ca' }).details ?? {}), undefined);
  });

  it('that cannot be read are an error, not none', () => {
    assert.throws(() => revocationOfDetails({ revocationGzip: 'AAAA' }), withCode('DataLoss'));
  });
});
