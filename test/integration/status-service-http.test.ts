import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import type { StatusService } from '@evercert/coordinator/status-service';
import { parseCertificate, parseCrl } from '@evercert/shared/x509';
import { ocspRequest, readOcspResponse, statusText } from '../support/ocsp.ts';
import { eventually, StatusWorld } from '../support/status-service.ts';

describe('the HTTP server for CRL and OCSP', () => {
  let world: StatusWorld;
  let service: StatusService;
  let url: string;
  beforeEach(async () => {
    world = new StatusWorld();
    await world.open('etcd-ca', 'cluster-ca');
    service = await world.service({ web: { listen: '127.0.0.1:0' } });
    url = `http://${service.address}`;
  });
  afterEach(() => world.dispose());

  const ca = (): Buffer => world.cas.get('etcd-ca')!.ca.der;
  const post = (body: Buffer, type = 'application/ocsp-request'): Promise<Response> =>
    fetch(`${url}/ocsp/demo/etcd-ca`, { method: 'POST', headers: { 'content-type': type }, body: new Uint8Array(body) });
  const ask = async (serial: string, options: Parameters<typeof ocspRequest>[2] = {}) =>
    readOcspResponse(Buffer.from(await (await post(await ocspRequest(ca(), serial, options))).arrayBuffer()), ca());

  it('serves CRLs and CA certificates with a tag, and tells who has them already', async () => {
    for (const [path, type] of [
      ['/crl/demo/etcd-ca.crl', 'application/pkix-crl'],
      ['/ca/demo/etcd-ca.crt', 'application/pkix-cert'],
    ]) {
      const response = await fetch(url + path);
      assert.deepEqual([response.status, response.headers.get('content-type')], [200, type]);
      assert.match(response.headers.get('cache-control') ?? '', /max-age=60/);
      assert.ok((await response.arrayBuffer()).byteLength > 100);
      const etag = response.headers.get('etag') ?? '';
      const again = await fetch(url + path, { headers: { 'if-none-match': `"x", W/${etag}` } });
      assert.deepEqual([again.status, await again.text()], [304, '']);
      const head = await fetch(url + path, { method: 'HEAD' });
      assert.deepEqual([head.status, head.headers.get('etag'), await head.text()], [200, etag, '']);
      assert.equal(head.headers.get('content-length'), response.headers.get('content-length'));
    }
  });

  for (const path of [
    '/',
    '/crl',
    '/crl/demo/',
    '/crl/demo/etcd-ca',
    '/crl/demo/etcd-ca.crl/x',
    '/crl/other/etcd-ca.crl',
    '/crl/demo/front-proxy-ca.crl',
    '/crl/demo/control-ca.crl',
    '/crl/demo/../demo/etcd-ca.crl/..',
    '/crl/demo%2fetcd-ca.crl',
    '/ocsp/other/etcd-ca/MAA=',
    '/ca/demo/etcd-ca.key',
    '/metrics',
    '/favicon.ico',
    '*',
  ]) {
    it(`has nothing at ${path}`, async () => {
      assert.equal(await rawStatus(`GET ${path} HTTP/1.1`), 404);
    });
  }

  it('knows no other methods, and no POST but for OCSP', async () => {
    for (const method of ['PUT', 'DELETE', 'OPTIONS', 'PATCH'])
      assert.equal((await fetch(`${url}/crl/demo/etcd-ca.crl`, { method })).status, 405);
    assert.equal((await fetch(`${url}/crl/demo/etcd-ca.crl`, { method: 'POST', body: 'x' })).status, 405);
  });

  it('answers OCSP by POST and by GET, with base64 encoded for a URL or not', async () => {
    const serial = await world.issued('etcd-ca');
    world.revoke('etcd-ca', serial, 'superseded');
    const { status, reason, signedByDelegate } = await ask(serial);
    assert.deepEqual([status, reason, signedByDelegate], ['revoked', 4, true]);
    const base64 = (await ocspRequest(ca(), serial)).toString('base64');
    for (const text of [base64, encodeURIComponent(base64)]) {
      const response = await fetch(`${url}/ocsp/demo/etcd-ca/${text}`);
      assert.equal(response.headers.get('content-type'), 'application/ocsp-response');
      assert.equal((await readOcspResponse(Buffer.from(await response.arrayBuffer()), ca())).status, 'revoked');
    }
  });

  it('echoes a nonce, and has no cache keep that answer', async () => {
    const serial = await world.issued('etcd-ca');
    for (const bytes of [1, 32, 128]) {
      const nonce = Buffer.alloc(bytes, 7);
      assert.deepEqual((await ask(serial, { nonce })).nonce, nonce);
      const path = encodeURIComponent((await ocspRequest(ca(), serial, { nonce })).toString('base64'));
      assert.equal((await fetch(`${url}/ocsp/demo/etcd-ca/${path}`)).headers.get('cache-control'), 'no-store');
    }
  });

  for (const bytes of [0, 129]) {
    it(`finds a request with a nonce of ${bytes} bytes malformed`, async () => {
      const response = await post(await ocspRequest(ca(), 'ab', { nonce: Buffer.alloc(bytes) }));
      assert.equal(statusText(Buffer.from(await response.arrayBuffer())), 'malformedRequest');
    });
  }

  it('finds garbage malformed, and says that it may not speak for another CA', async () => {
    assert.equal(statusText(Buffer.from(await (await post(Buffer.from('garbage'))).arrayBuffer())), 'malformedRequest');
    const other = await ocspRequest(world.cas.get('cluster-ca')!.ca.der, 'ab');
    assert.equal(statusText(Buffer.from(await (await post(other)).arrayBuffer())), 'unauthorized');
    assert.equal((await fetch(`${url}/ocsp/demo/etcd-ca/%%%`)).status, 400);
    assert.equal((await fetch(`${url}/ocsp/demo/etcd-ca`)).status, 400);
  });

  it('signs an answer once, and anew when revocations change or half of its life is over', async () => {
    const serial = await world.issued('etcd-ca');
    const first = await ask(serial);
    assert.deepEqual([(await ask(serial)).der, world.asked], [first.der, 1]);
    world.revoke('etcd-ca', serial);
    assert.deepEqual([(await ask(serial)).status, world.asked], ['revoked', 2]);
    await ask(serial);
    assert.equal(world.asked, 2);
    await world.clock.advance(1_800_000);
    await ask(serial);
    assert.equal(world.asked, 3);
  });

  it('keeps no answer about a serial that it does not know', async () => {
    assert.equal((await ask('abcdef')).status, 'unknown');
    const response = await fetch(`${url}/ocsp/demo/etcd-ca/${encodeURIComponent((await ocspRequest(ca(), 'abcdef')).toString('base64'))}`);
    assert.equal(response.headers.get('cache-control'), 'no-store');
  });

  it('replaces its OCSP signer at two thirds of its life, and goes on with the old one while that fails', async () => {
    const serial = await world.issued('etcd-ca');
    const first = (await ask(serial)).signer;
    await world.clock.advance(63 * 3_600_000);
    assert.equal((await ask(serial)).signer, first);
    await world.clock.advance(2 * 3_600_000);
    world.signing = new Error('the key is away');
    assert.equal((await ask(serial, { nonce: Buffer.of(1) })).signer, first);
    await eventually(() => world.refused > 0, 'a try that fails');
    world.signing = undefined;
    await world.clock.advance(5000);
    await eventually(async () => (await ask(serial, { nonce: Buffer.of(1) })).signer !== first, 'another signer');
  });

  it('tells internalError while no signer can be had', async () => {
    world.signing = new Error('the key is away');
    const response = await post(await ocspRequest(ca(), 'ab'));
    assert.equal(statusText(Buffer.from(await response.arrayBuffer())), 'internalError');
  });

  it('takes no body over 64 KiB, and no other type', async () => {
    assert.equal((await post(Buffer.alloc(64 * 1024 + 1))).status, 413);
    assert.equal((await post(Buffer.from('x'), 'text/plain')).status, 415);
    assert.equal(await chunked(80), 413);
  });

  it('takes no headers over 16 KiB', async () => {
    assert.equal(await rawStatus(`GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}`), 431);
  });

  describe('after the CA got another key', () => {
    const lastEndMs = 96 * 3_600_000;
    let keys: { old: Buffer; present: Buffer };
    let before: string;
    let after: string;
    beforeEach(async () => {
      const old = ca();
      before = await world.issued('etcd-ca');
      world.revoke('etcd-ca', before);
      await world.rotate('etcd-ca', world.clock.nowMs() + lastEndMs);
      keys = { old, present: ca() };
      after = await world.issued('etcd-ca');
      world.revoke('etcd-ca', after);
      await eventually(async () => (await listed(`${serialOf(keys.present)}`))?.length === 1, 'the list of the present key');
    });
    const serialOf = (der: Buffer): string => parseCertificate(der).serial;
    const listed = async (generation?: string): Promise<string[] | undefined> => {
      const response = await fetch(`${url}/crl/demo/etcd-ca${generation === undefined ? '' : `/${generation}`}.crl`);
      if (response.status !== 200) return undefined;
      return parseCrl(Buffer.from(await response.arrayBuffer())).revoked.map(({ serial }) => serial);
    };
    const certificateAt = async (path: string): Promise<Buffer> =>
      Buffer.from(await (await fetch(`${url}/ca/demo/${path}.crt`)).arrayBuffer());
    const askBy = async (key: Buffer, serial: string) => {
      const response = await post(await ocspRequest(key, serial));
      return readOcspResponse(Buffer.from(await response.arrayBuffer()), key);
    };

    it('serves the CRL and the certificate of each key by its serial number, and those of the old one where certificates name none', async () => {
      const { old, present } = keys;
      assert.deepEqual([await listed(), await listed(serialOf(old)), await listed(serialOf(present))], [[before], [before], [after]]);
      assert.deepEqual(await certificateAt('etcd-ca'), old);
      for (const der of [old, present]) assert.deepEqual(await certificateAt(`etcd-ca/${serialOf(der)}`), der);
      assert.equal(await listed('abcd'), undefined);
      assert.equal((await fetch(`${url}/ca/demo/etcd-ca/abcd.crt`)).status, 404);
      assert.equal((await fetch(`${url}/ca/demo/etcd-ca/${serialOf(old)}.crl`)).status, 404);
    });

    it('answers OCSP for each key by a signer of that key, and knows of each only what it signed', async () => {
      const answers = await Promise.all([
        askBy(keys.old, before),
        askBy(keys.present, after),
        askBy(keys.old, after),
        askBy(keys.present, before),
      ]);
      assert.deepEqual(
        answers.map(({ status, signedByDelegate }) => [status, signedByDelegate]),
        [
          ['revoked', true],
          ['revoked', true],
          ['unknown', true],
          ['unknown', true],
        ],
      );
    });

    it('has nothing more of the old key when its last certificate has ended', async () => {
      await world.clock.advance(lastEndMs);
      assert.equal(await listed(serialOf(keys.old)), undefined);
      assert.deepEqual(await certificateAt('etcd-ca'), keys.present);
      const response = await post(await ocspRequest(keys.old, before));
      assert.equal(statusText(Buffer.from(await response.arrayBuffer())), 'unauthorized');
      assert.deepEqual(await certificateAt(`etcd-ca/${serialOf(keys.old)}`), keys.old, 'its certificate is kept');
    });
  });

  /** Sends a request's first lines as they are; `fetch` would tidy the path. */
  function rawStatus(head: string): Promise<number> {
    const { hostname, port } = new URL(url);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => socket.write(`${head}\r\nhost: test\r\nconnection: close\r\n\r\n`));
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString('latin1')));
      socket.on('error', reject);
      socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1])));
    });
  }

  /** A body of so many KiB whose length is not told before. */
  function chunked(kib: number): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/ocsp/demo/etcd-ca`, { method: 'POST', headers: { 'content-type': 'application/ocsp-request' } });
      sent.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      sent.on('error', reject);
      for (let i = 0; i < kib; i++) sent.write(Buffer.alloc(1024));
      sent.end();
    });
  }
});
