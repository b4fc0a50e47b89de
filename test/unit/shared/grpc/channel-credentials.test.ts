import assert from 'node:assert/strict';
import { systemClock } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';
import { createClientCredentials, createHotSwapServerCredentials, unary } from '@evercert/shared/grpc';
import { createRootCertificate, generateKeyPair, issueLeaf, newSerial, prepareIssuer, signerFor, spkiDer } from '@evercert/shared/x509';
import type { Server } from '@grpc/grpc-js';
import { Client, Server as GrpcServer, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';

const echo = {
  echo: {
    path: '/test.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: Buffer) => value,
    requestDeserialize: (value: Buffer) => value,
    responseSerialize: (value: Buffer) => value,
    responseDeserialize: (value: Buffer) => value,
  },
} as const;

describe('client credentials and the name of the server', () => {
  let server: Server | undefined;
  let port: number;
  let ca: Buffer;

  before(async () => {
    const caKey = await generateKeyPair('ecdsa-p256');
    const signer = signerFor(caKey.privateKey);
    const nowMs = systemClock.nowMs();
    const times = { notBefore: new Date(nowMs - 60_000), notAfter: new Date(nowMs + 60_000) };
    const caTimes = { ...times, notAfter: new Date(nowMs + 120_000) };
    ca = await createRootCertificate({ commonName: 'test', signer, serial: newSerial(), ...caTimes });
    const { privateKey, publicKey } = await generateKeyPair('ecdsa-p256');
    const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], uris: [] };
    const profile = { commonName: 'server', organizations: [], ...names, usages: ['digital signature', 'server auth'] as const };
    const leaf = await issueLeaf(prepareIssuer(ca, signer), {
      spki: spkiDer(publicKey),
      keyAlgorithm: 'ecdsa-p256',
      profile: { ...profile, usages: [...profile.usages] },
      serial: newSerial(),
      ...times,
    });
    const started = new GrpcServer();
    server = started;
    started.addService(echo, {
      echo: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => callback(null, call.request),
    });
    const { credentials } = createHotSwapServerCredentials({ chain: [leaf, ca], privateKey, clientAnchors: [ca] });
    port = await new Promise((resolve, reject) => {
      started.bindAsync('0.0.0.0:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
  });

  after(() => server?.forceShutdown());

  async function call(host: string): Promise<string> {
    const client = new Client(`${host}:${port}`, createClientCredentials({ trustAnchors: [ca] }));
    try {
      const { path, requestSerialize, responseDeserialize } = echo.echo;
      const answer = await unary<Buffer, Buffer>(
        (request, metadata, options, callback) =>
          client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, options, (error, value) =>
            callback(error, value ?? Buffer.alloc(0)),
          ),
        Buffer.from('hello'),
        { deadlineMs: 4000 },
      );
      return answer.toString();
    } finally {
      client.close();
    }
  }

  it('reach a server by host name and by address', async () => {
    assert.equal(await call('localhost'), 'hello');
    assert.equal(await call('127.0.0.1'), 'hello');
  });

  it('refuse a server whose certificate does not hold the address', async () => {
    await assert.rejects(call('127.0.0.2'), (error: EvercertError) => {
      assert.equal(error.code, 'Unavailable');
      assert.match(error.message, /127\.0\.0\.2/);
      return true;
    });
  });
});
