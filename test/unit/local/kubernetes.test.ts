import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  findKubeApiServer,
  type KubernetesEndpoint,
  KubernetesLoad,
  type KubernetesStatistics,
  kubeApiServerArguments,
  readKubeconfig,
} from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { createKubernetesPki, type KubernetesPki, kubeconfigText } from '../../support/kubernetes-pki.ts';
import { temporaryFolder, until } from '../../support/live.ts';

describe('an API server of a local cluster', () => {
  const options = { address: '127.0.0.11', port: 20_001, etcd: '127.0.0.11:20002', pkiDir: '/p', certDir: '/c' };

  it('verifies etcd against the Cluster CA in the founding layout, against the etcd CA in kubeadm’s', () => {
    assert.ok(kubeApiServerArguments({ ...options, layout: 'founding' }).includes('--etcd-cafile=/p/ca.crt'));
    assert.ok(kubeApiServerArguments({ ...options, layout: 'kubeadm' }).includes('--etcd-cafile=/p/etcd/ca.crt'));
  });

  it('serves at the node’s address alone, with the issued certificates and the cluster’s service-account key', () => {
    const args = kubeApiServerArguments({ ...options, layout: 'founding' });
    for (const expected of [
      '--bind-address=127.0.0.11',
      '--secure-port=20001',
      '--etcd-servers=https://127.0.0.11:20002',
      '--etcd-certfile=/p/apiserver-etcd-client.crt',
      '--tls-cert-file=/p/apiserver.crt',
      '--client-ca-file=/p/ca.crt',
      '--requestheader-client-ca-file=/p/front-proxy-ca.crt',
      '--service-account-signing-key-file=/p/sa.key',
      '--authorization-mode=Node,RBAC',
    ]) {
      assert.ok(args.includes(expected), expected);
    }
  });

  it('is taken from $KUBE_BIN_DIR first', () => {
    const folder = temporaryFolder('binary');
    try {
      writeFileSync(join(folder, 'kube-apiserver'), '#!/bin/sh\n', { mode: 0o755 });
      assert.equal(findKubeApiServer({ KUBE_BIN_DIR: folder }), join(folder, 'kube-apiserver'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('people who use API servers', () => {
  const folder = temporaryFolder('load');
  const servers: Server[] = [];
  let pki: KubernetesPki;
  let load: KubernetesLoad | undefined;

  before(async () => {
    pki = await createKubernetesPki(join(folder, 'pki'));
  });

  afterEach(async () => {
    await load?.stop();
    load = undefined;
    for (const server of servers.splice(0)) server.close();
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  type Answer = { status: number; body?: object };

  async function endpoint(name: string, answer: (request: IncomingMessage, body: string) => Answer): Promise<KubernetesEndpoint> {
    const files = await pki.server(name);
    const tls = {
      cert: readFileSync(files.certificate),
      key: readFileSync(files.privateKey),
      ca: readFileSync(pki.caFile),
      requestCert: true,
      rejectUnauthorized: true,
    };
    const server = createServer(tls, (request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk;
      });
      request.on('end', () => {
        const { status, body = {} } = answer(request, text);
        response.writeHead(status, { connection: 'close' }).end(JSON.stringify(body));
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const kubeconfig = join(folder, `${name}.conf`);
    writeFileSync(kubeconfig, kubeconfigText(url, pki.caFile, await pki.client(`${name}-admin`, { commonName: 'kubernetes-admin' })));
    return { name, server: url, kubeconfig };
  }

  /** Stores what is written, for all servers. */
  function store(): (request: IncomingMessage, body: string) => Answer {
    const values = new Map<string, object>();
    return ({ method, url = '' }, body) => {
      const path = new URL(url, 'https://x').pathname;
      if (method === 'PATCH') values.set(path, JSON.parse(body) as object);
      const found = values.get(path);
      return found ? { status: 200, body: found } : { status: path === '/readyz' ? 200 : 404 };
    };
  }

  async function twentyRequests(endpoints: KubernetesEndpoint[]): Promise<KubernetesStatistics> {
    load = new KubernetesLoad({ endpoints, clock: systemClock, onProblem: () => undefined, intervalMs: 5 });
    const running = load;
    running.start();
    await until('twenty requests', 4000, () => running.statistics().requests >= 20, 10);
    await running.stop();
    return running.statistics();
  }

  it('write and read through all of them in turn', async () => {
    const answer = store();
    const { failed, retried, endpoints } = await twentyRequests([await endpoint('a', answer), await endpoint('b', answer)]);
    assert.deepEqual([failed, retried], [0, 0]);
    assert.ok(endpoints.every((each) => each.attempts >= 8 && each.failed === 0 && each.certificates === 1));
  });

  it('go to another when one refuses connections, and leave that one out until it is ready', async () => {
    const gone = await endpoint('gone', store());
    servers.pop()?.close();
    const { failed, retried, endpoints } = await twentyRequests([gone, await endpoint('there', store())]);
    assert.equal(failed, 0);
    assert.ok(retried >= 1);
    const [first] = endpoints;
    assert.deepEqual([first?.leftOut, first?.attempts], [1, first?.failed]);
  });

  it('try again what is answered with 500, and not what is forbidden', async () => {
    const answer = store();
    const broken = await endpoint('broken', ({ url }) => ({ status: url === '/readyz' ? 503 : 500 }));
    assert.equal((await twentyRequests([broken, await endpoint('well', answer)])).failed, 0);
    const strict = await twentyRequests([await endpoint('strict', () => ({ status: 403 })), await endpoint('open', answer)]);
    assert.ok(strict.failed > 0);
    assert.equal(strict.retried, 0);
    assert.match(strict.lastError ?? '', /strict failed: HTTP 403/);
  });

  it('notice a write that is lost', async () => {
    const { failed, lastError } = await twentyRequests([
      await endpoint('forgetful', () => ({ status: 200, body: { data: { value: 'old' } } })),
      await endpoint('other', () => ({ status: 200, body: { data: { value: 'old' } } })),
    ]);
    assert.ok(failed > 0);
    assert.match(lastError ?? '', /another value than was written/);
  });

  it('read a kubeconfig with its files, and refuse what is none', async () => {
    const { kubeconfig, server } = await endpoint('files', store());
    const credential = await readKubeconfig(kubeconfig);
    assert.equal(credential.server, server);
    assert.deepEqual(credential.ca, readFileSync(pki.caFile));
    writeFileSync(kubeconfig, 'current-context: nobody\ncontexts: []\nclusters: []\nusers: []\n');
    await assert.rejects(readKubeconfig(kubeconfig), { code: 'InvalidArgument' });
    await assert.rejects(readKubeconfig(join(folder, 'none')), { code: 'FileSystem' });
  });
});
