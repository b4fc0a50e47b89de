import assert from 'node:assert/strict';
import type { Rotations } from '@evercert/coordinator/rotation';
import {
  createRootCertificate,
  generateKeyPair,
  issueCa,
  newSerial,
  openCsr,
  parseCertificate,
  pemBlocks,
  prepareIssuer,
  signerFor,
  toPem,
} from '@evercert/shared/x509';
import { RotationBench } from '../../../support/rotation-bench.ts';

const yearMs = 365 * 86_400_000;

describe('the rotation of a CA to an intermediate', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  /** What an offline root makes of a request: PEM, its own certificate behind it. */
  async function signed(requestPem: string): Promise<string> {
    const signer = signerFor((await generateKeyPair('ecdsa-p256')).privateKey);
    const nowMs = bench.clock.nowMs();
    const notBefore = new Date(nowMs - 60_000);
    const root = await createRootCertificate({
      commonName: 'root',
      signer,
      serial: newSerial(),
      notBefore,
      notAfter: new Date(nowMs + 20 * yearMs),
    });
    const csr = await openCsr(pemBlocks(Buffer.from(requestPem))[0]!.der);
    const order = {
      subject: csr.subject,
      spki: csr.spki,
      pathLength: 0,
      serial: newSerial(),
      notBefore,
      notAfter: new Date(nowMs + 5 * yearMs),
    };
    const certificate = await issueCa(prepareIssuer(root, signer), order);
    return toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', root);
  }

  /** The answer waits for the request, which the leader makes. */
  async function begun(): ReturnType<Rotations['rotate']> {
    const order = {
      cluster: 'demo',
      authorities: ['cluster-ca'],
      reason: 'requested' as const,
      note: '',
      intermediate: true,
      dryRun: false,
    };
    const answer = bench.parts.rotations.rotate(order, 'admin/ann');
    while (bench.parts.records.list('').length === 0) await bench.settled();
    await bench.look();
    await bench.clock.advance(200);
    return answer;
  }

  async function awaiting(): Promise<{ id: string; pem: string }> {
    const { rotations } = await begun();
    const { record: now, waitingFor } = bench.view(rotations[0]!.record.id);
    assert.equal(now.stage, 'AwaitingCertificate');
    assert.match(waitingFor, /evercert ca install demo --ca cluster-ca/);
    return { id: now.id, pem: now.request!.pem };
  }

  it('gives a request, waits for what the root signs, and then has nodes trust the root', async () => {
    bench = await RotationBench.start();
    const { requests, rotations } = await begun();
    const { id } = rotations[0]!.record;
    const chain = await signed(requests['cluster-ca']!);
    for (let i = 0; i < 3; i++) await bench.look();
    assert.equal(bench.view(id).record.stage, 'AwaitingCertificate');
    const installed = await bench.parts.rotations.install(id, chain, 'admin/ann');
    assert.equal(installed.record.stage, 'Spreading');
    assert.equal((await bench.parts.rotations.install(id, chain, 'admin/ann')).record.id, id, 'idempotent');
    await bench.ended(id);
    const { bundle, root, serial } = bench.authority;
    assert.deepEqual(bundle, [root]);
    assert.equal(bench.node('w-1').leaf?.issuerSerial, serial);
    assert.equal(parseCertificate(Buffer.from(root!, 'base64')).commonName, 'root');
  });

  it('refuses what is not for its request, and what nobody waits for', async () => {
    bench = await RotationBench.start();
    const { id } = await awaiting();
    const other = await bench.parts.rotations.rotate(
      { cluster: 'demo', authorities: ['etcd-ca'], reason: 'requested', note: '', intermediate: false, dryRun: true },
      'admin/ann',
    );
    assert.equal(other.rotations.length, 1);
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const own = await createRootCertificate({
      commonName: 'x',
      signer: signerFor(privateKey),
      serial: newSerial(),
      notBefore: new Date(bench.clock.nowMs()),
      notAfter: new Date(bench.clock.nowMs() + yearMs),
    });
    await assert.rejects(bench.parts.rotations.install(id, toPem('CERTIFICATE', own), 'admin/ann'), { code: 'InvalidCertificate' });
    await assert.rejects(bench.parts.rotations.install(id, 'x'.repeat(300_000), 'admin/ann'), { code: 'InvalidArgument' });
    await bench.parts.rotations.set(id, { type: 'abort' }, '', 'admin/ann');
    await assert.rejects(bench.parts.rotations.install(id, toPem('CERTIFICATE', own), 'admin/ann'), { code: 'FailedPrecondition' });
  });

  it('leaves neither request nor key behind when it is aborted', async () => {
    bench = await RotationBench.start();
    const before = bench.keys.held.size;
    const { id } = await awaiting();
    assert.equal(bench.keys.held.size, before + 1);
    await bench.parts.rotations.set(id, { type: 'abort' }, '', 'admin/ann');
    await bench.ended(id);
    assert.equal(bench.keys.held.size, before);
  });
});
