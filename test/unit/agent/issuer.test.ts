import assert from 'node:assert/strict';
import { Issuer } from '@evercert/agent/certificates';
import { KeyedLock } from '@evercert/agent/state';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { parseCsr, spkiDer } from '@evercert/shared/x509';
import { createTestCa, keyAndLeaf } from './pki.ts';
import { desired, FakeCoordinator, FakeFiles, someKey } from './support.ts';

const hour = 3_600_000;

describe('the issuer', () => {
  async function setUp(waitsSinceMs: number) {
    const clock = new FakeClock();
    const files = new FakeFiles(clock);
    const ca = await createTestCa(clock.nowMs());
    const { leaf } = await keyAndLeaf(ca, clock.nowMs() - waitsSinceMs);
    files.waiting.set('a', { privateKey: someKey, keyAlgorithm: 'ecdsa-p384', specHash: 'a-1', chain: [leaf] });
    const installed: string[] = [];
    files.install = async (spec) => {
      installed.push(files.waiting.get(spec.name)?.chain?.[0] === leaf ? 'the waiting chain' : 'a new chain');
      throw new Error('the rest is not looked at here');
    };
    const requests: Buffer[] = [];
    const coordinator = new FakeCoordinator(clock);
    const issueCertificate: FakeCoordinator['issueCertificate'] = (request) => {
      requests.push((request as typeof request & { csr: Buffer }).csr);
      return FakeCoordinator.prototype.issueCertificate.call(coordinator, request);
    };
    const api = Object.assign(coordinator, { issueCertificate });
    const issuer = new Issuer({ files, api, clock, logger: silentLogger, lock: new KeyedLock() });
    const issue = (): Promise<unknown> =>
      issuer.issue(desired('a', { lifetimeSeconds: 96 * 3600 }), 'Initial', { deadlineMs: 1000, signal: new AbortController().signal });
    return { issue, requests, installed };
  }

  it('installs a chain that waits since a crash without asking again', async () => {
    const { issue, requests, installed } = await setUp(hour);
    await assert.rejects(issue());
    assert.deepEqual(installed, ['the waiting chain']);
    assert.equal(requests.length, 0);
  });

  it('asks anew, with a request that proves the key, when the waiting chain is due for renewal itself', async () => {
    const { issue, requests, installed } = await setUp(80 * hour);
    await assert.rejects(issue());
    assert.deepEqual(installed, ['a new chain']);
    assert.deepEqual(parseCsr(requests[0]!).spki, spkiDer(someKey));
  });
});
