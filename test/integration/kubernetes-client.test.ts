import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { type KubernetesApi, type KubernetesObject, openKubernetesApi } from '@evercert/coordinator/kubernetes';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createKubernetesPki, type KubernetesPki, kubeconfigText } from '../support/kubernetes-pki.ts';
import { temporaryFolder } from '../support/live.ts';
import { withCode } from '../support/node-calls.ts';

/** A server that answers as the test wants: what a real one does in bad times. */
describe('the client of an API server', function () {
  this.timeout(30_000);
  let folder: string;
  let pki: KubernetesPki;
  let server: Server;
  let kubeconfig: string;
  let url: string;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const abort = new AbortController();
  let api: KubernetesApi;
  const heard: string[] = [];

  before(async () => {
    folder = temporaryFolder('client');
    pki = await createKubernetesPki(join(folder, 'pki'));
    const serving = await pki.server('apiserver');
    server = createServer(
      {
        cert: readFileSync(serving.certificate),
        key: readFileSync(serving.privateKey),
        ca: readFileSync(pki.caFile),
        requestCert: true,
        rejectUnauthorized: true,
      },
      (request, response) => answer(request, response),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, kubeconfigText(url, pki.caFile, await pki.client('first', { commonName: 'first' })));
    api = openKubernetesApi({
      kubeconfig,
      requestTimeoutMs: 500,
      signal: abort.signal,
      clock: systemClock,
      roles: 'ROLES',
      answered: (from) => heard.push(from),
    });
  });

  after(() => {
    abort.abort();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const json = (response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  const get = (): Promise<unknown> => api.send({ method: 'GET', path: '/things' });
  const thing = (name: string, resourceVersion: string): object => ({ metadata: { name, resourceVersion } });
  async function watched(signal = new AbortController().signal): Promise<string[]> {
    const names: string[] = [];
    const request = { path: '/things', resourceVersion: '1', timeoutSeconds: 1, signal };
    for await (const { type, object } of api.watch<KubernetesObject>(request)) names.push(`${type} ${object.metadata.name}`);
    return names;
  }

  it('gives up on an answer that does not come, or does not end', async () => {
    answer = () => undefined;
    await assert.rejects(get(), withCode('DeadlineExceeded'));
    answer = (_request, response) => response.writeHead(200).write('{');
    await assert.rejects(get(), withCode('DeadlineExceeded'));
  });

  it('says what the server refused, and when to come back', async () => {
    const status = { kind: 'Status', reason: 'TooManyRequests', message: 'not\nnow' };
    answer = (_request, response) => json(response, 429, status, { 'retry-after': '7' });
    await assert.rejects(get(), (error) => {
      assert.ok(error instanceof EvercertError);
      assert.deepEqual(
        [error.code, error.retryAfterMs, error.metadata],
        ['Overloaded', 7000, { httpStatus: '429', reason: 'TooManyRequests' }],
      );
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
    for (const [code, expected] of Object.entries({
      401: 'Unauthenticated',
      403: 'PermissionDenied',
      409: 'Conflict',
      500: 'Unavailable',
      504: 'Unavailable',
    } as const)) {
      answer = (_request, response) => json(response, Number(code), status);
      await assert.rejects(get(), withCode(expected));
    }
    assert.ok(heard.every((each) => each === url) && heard.length >= 6, 'each answer counts as contact');
  });

  it('repeats nothing of an answer to a secret', async () => {
    answer = (_request, response) => json(response, 422, { kind: 'Status', reason: 'Invalid', message: 'value hunter2 is bad' });
    await assert.rejects(
      api.send({ method: 'POST', path: '/secrets', body: {}, secret: true }),
      (error) => !String(error).includes('hunter2'),
    );
  });

  it('reads a collection in pages, to the version of the last', async () => {
    answer = (request, response) => {
      const next = new URL(request.url ?? '', url).searchParams.get('continue');
      json(response, 200, {
        metadata: next ? { resourceVersion: '9' } : { continue: 'more', resourceVersion: '9' },
        items: [thing(next ?? 'first', '1')],
      });
    };
    const { items, resourceVersion } = await api.snapshot<KubernetesObject>('/things');
    assert.deepEqual([items.map(({ metadata }) => metadata.name), resourceVersion], [['first', 'more'], '9']);
  });

  it('tells changes however the bytes are cut', async () => {
    const lines = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'].map((type) => JSON.stringify({ type, object: thing('ä', '2') })).join('\n');
    answer = (_request, response) => {
      response.writeHead(200);
      const bytes = Buffer.from(`${lines}\n`);
      for (let i = 0; i < bytes.length; i += 7) response.write(bytes.subarray(i, i + 7));
      response.end();
    };
    assert.deepEqual(await watched(), ['ADDED ä', 'MODIFIED ä', 'DELETED ä', 'BOOKMARK ä']);
  });

  it('takes an error within a watch for what it is', async () => {
    answer = (_request, response) => {
      response
        .writeHead(200)
        .end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' } })}\n`);
    };
    await assert.rejects(watched(), (error) => error instanceof EvercertError && error.metadata['httpStatus'] === '410');
  });

  it('notices a watch that died in silence, one that is cut, and one that talks nonsense', async () => {
    answer = (_request, response) => response.writeHead(200).flushHeaders();
    await assert.rejects(watched(), withCode('DeadlineExceeded'));
    answer = (_request, response) => {
      response.writeHead(200).write('{"type":');
      setImmediate(() => response.destroy());
    };
    await assert.rejects(watched(), withCode('Unavailable'));
    answer = (_request, response) => response.writeHead(200).end('nonsense\n');
    await assert.rejects(watched(), withCode('Unavailable'));
  });

  it('ends a watch when it is told to', async () => {
    answer = (_request, response) => response.writeHead(200).flushHeaders();
    const ending = new AbortController();
    const over = assert.rejects(watched(ending.signal), withCode('Cancelled'));
    await systemClock.sleep(50);
    ending.abort();
    await over;
  });

  it('uses a kubeconfig’s new certificate as soon as it is there', async () => {
    const callers: string[] = [];
    answer = (request, response) => {
      callers.push((request.socket as TLSSocket).getPeerCertificate().subject.CN as string);
      json(response, 200, {});
    };
    await get();
    const next = join(folder, 'next');
    writeFileSync(next, kubeconfigText(url, pki.caFile, await pki.client('second', { commonName: 'second' })));
    renameSync(next, kubeconfig);
    await get();
    assert.deepEqual(callers, ['first', 'second']);
  });

  it('says what is wrong with a kubeconfig, and goes on when it is put right', async () => {
    const good = readFileSync(kubeconfig);
    writeFileSync(kubeconfig, kubeconfigText('http://127.0.0.1:1', pki.caFile, { token: 'secret-token' }));
    await assert.rejects(get(), (error) => withCode('FailedPrecondition')(error) && !String(error).includes('secret-token'));
    rmSync(kubeconfig);
    await assert.rejects(get(), withCode('FailedPrecondition'));
    writeFileSync(kubeconfig, good);
    await get();
  });
});
