import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, globSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubernetesApi } from '@evercert/coordinator/kubernetes';
import { type Environment, type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { type Certificate, type Cluster, ClusterSpec } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { allowBootstrapping, bootstrapGroups } from '../support/bridge.ts';
import { type Outcome, outcomeOf, request, requestsPath, userApi } from '../support/certificate-requests.ts';
import { type Fault, type FaultProxy, type ProxiedRequest, startFaultProxy, statusText } from '../support/fault-proxy.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { kubeconfigText } from '../support/kubernetes-pki.ts';
import { isFullRun } from '../support/kubernetes-run.ts';
import { issuedCertificates, serialOf, sharedKeys, temporaryFolder, until } from '../support/live.ts';
import { needTool } from '../support/tools.ts';

const findLibrary = (): string | undefined => globSync('/usr/lib/*/faketime/libfaketime.so.1').find((path) => existsSync(path));
/** Of the bridge; an API server that takes 30 s is slow beside either. */
const requestTimeoutMs = isFullRun ? 15_000 : 2000;
/** How long a fault lasts. */
const faultMs = isFullRun ? 40_000 : 1500;
/** The bridge tries again at most so long after things are well. */
const recoveryMs = 30_000 + requestTimeoutMs + 15_000;
const slowMs = 30_000;

describe('the Kubernetes bridge at an API server in bad times', function () {
  this.timeout(recoveryMs + 2 * faultMs + 60_000);
  let kubernetes: TestKubernetes;
  let cluster: LocalCluster;
  let runDir: string;
  let proxy: FaultProxy;
  let admin: KubernetesApi;
  let bootstrapper: KubernetesApi;
  /** Every request that was made, by its name. */
  const made: string[] = [];

  before(async function () {
    kubernetes = await startKubernetes(needKubernetes(this));
    await allowBootstrapping(kubernetes);
    admin = userApi(kubernetes.adminKubeconfig);
    const user = { commonName: 'system:bootstrap:abcdef', organizations: bootstrapGroups };
    bootstrapper = userApi(await kubernetes.kubeconfigFor('bootstrapper', user));
    proxy = await startFaultProxy({ pki: kubernetes.pki, server: kubernetes.server, user: 'evercert:bridge' });
    const kubeconfig = join(kubernetes.folder, 'bridge.kubeconfig');
    writeFileSync(kubeconfig, kubeconfigText(proxy.url, kubernetes.pki.caFile, { token: 'not-looked-at' }), { mode: 0o600 });
    runDir = temporaryFolder('faults');
    cluster = await prepareLocalCluster({
      runDir,
      controlPlanes: 1,
      workers: 0,
      autoRestart: false,
      // The clock is put two minutes back later: what was issued before holds then, too.
      coordinatorConfig: { backdate: '5m', kubernetes: { demo: { kubeconfig, signers: true, requestTimeout: `${requestTimeoutMs}ms` } } },
    });
    await cluster.coordinator.start();
    const api = await cluster.admin();
    await api.createCluster('demo', ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', layout: 'kubeadm', leafLifetimeSeconds: 3600 }));
    await untilIssued([await ask('first')]);
    await untilState('Connected');
  });

  after(async () => {
    await cluster?.stop();
    await proxy?.stop();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  afterEach(() => proxy?.heal());

  async function bridge(): Promise<Cluster['kubernetes']> {
    const api = await cluster.admin();
    return (await api.call(api.client.listClusters, {})).clusters.find(({ name }) => name === 'demo')?.kubernetes;
  }

  async function untilState(...states: string[]): Promise<void> {
    let last: Cluster['kubernetes'];
    const reached = async (): Promise<boolean> => {
      last = await bridge();
      return states.includes(last?.state ?? '');
    };
    await until(`the bridge to be ${states}`, recoveryMs, reached).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${last?.state}: ${last?.message}`, { cause: error });
    });
  }

  async function ask(node: string): Promise<string> {
    const wanted = { signerName: 'kubernetes.io/kube-apiserver-client-kubelet', commonName: `system:node:${node}` };
    const name = await request(bootstrapper, { ...wanted, organizations: ['system:nodes'] }, `csr-${node}`);
    made.push(name);
    return name;
  }

  async function untilIssued(names: readonly string[]): Promise<void> {
    const open = new Map<string, Outcome | undefined>(names.map((name) => [name, undefined]));
    const all = async (): Promise<boolean> => {
      for (const name of open.keys()) {
        const outcome = await outcomeOf(admin, name);
        if (outcome.state === 'Issued') open.delete(name);
        else open.set(name, outcome);
      }
      return open.size === 0;
    };
    await until('all requests to be answered', recoveryMs, all, 100).catch((error: unknown) => {
      const left = [...open].map(([name, outcome]) => `${name} is ${outcome?.state} (${outcome?.message})`);
      throw new Error(`${String(error)}: ${left.join(', ')}`, { cause: error });
    });
  }

  /** For everything that `match` fits, as often as `times` says. Returns how often it came about. */
  function give(fault: Fault, match: (asked: ProxiedRequest) => boolean, times = Number.POSITIVE_INFINITY): () => number {
    let count = 0;
    proxy.faults.add((asked) => {
      if (!match(asked) || count >= times) return undefined;
      count += 1;
      return fault;
    });
    return () => count;
  }

  const everything = (): boolean => true;
  const lists = ({ method, path, watch }: ProxiedRequest): boolean => method === 'GET' && path === requestsPath && !watch;
  const watches = ({ watch }: ProxiedRequest): boolean => watch;

  /** A request before the bad times, one in them and one after. */
  async function survive(what: string, during: () => Promise<void>): Promise<void> {
    const names = [await ask(`${what}-before`)];
    await during();
    names.push(await ask(`${what}-during`));
    await systemClock.sleep(faultMs);
    proxy.heal();
    names.push(await ask(`${what}-after`));
    await untilIssued(names);
    await untilState('Connected');
  }

  describe('that is away', () => {
    it('goes on once connections are taken again, and says meanwhile that it is cut off', async () => {
      const name = await ask('refused');
      await proxy.vanish();
      const during = await ask('refused-during');
      await untilState('Disconnected');
      await proxy.listen();
      await untilIssued([name, during]);
      await untilState('Connected');
    });

    it('goes on once answers come again, and does everything else meanwhile', async () => {
      await survive('silent', async () => {
        give({ silent: true }, everything);
        proxy.cutWatches();
        await untilState('Disconnected');
        const startMs = systemClock.monotonicMs();
        const api = await cluster.admin();
        const worker = ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', layout: 'kubeadm' });
        await api.createCluster(`other-${startMs.toFixed()}`, worker);
        assert.ok(systemClock.monotonicMs() - startMs < 2000, 'the coordinator is held up');
      });
    });

    it('waits for no answer of a slow one, and takes the late ones for nothing', async () => {
      await survive('slow', async () => {
        give({ delayAnswerMs: slowMs }, everything);
        proxy.cutWatches();
      });
    });

    if (isFullRun)
      it('works with one that takes its time', async () => {
        give({ delayAnswerMs: requestTimeoutMs / 2 }, everything);
        await untilIssued([await ask('tardy')]);
      });
  });

  describe('that refuses', () => {
    const refusals = isFullRun ? [[409], [410], [429], [500]] : [[409, 410, 429, 500]];
    for (const statuses of refusals) {
      it(`goes on after HTTP ${statuses.join(', ')} to everything`, async () => {
        await survive(`refuse-${statuses.join('-')}`, async () => {
          let count = 0;
          proxy.faults.add(() => ({ refuse: statuses[count++ % statuses.length] ?? 500, retryAfterSeconds: 1 }));
          proxy.cutWatches();
        });
      });
    }

    if (isFullRun)
      it('asks a server no sooner again than that wants', async () => {
        give({ refuse: 429, retryAfterSeconds: 10 }, watches, 1);
        const before = proxy.seen.length;
        proxy.cutWatches();
        await until('the bridge to be refused', 10_000, () => proxy.seen.slice(before).some(watches));
        const refusedAtMs = systemClock.monotonicMs();
        const count = proxy.seen.length;
        await until('the bridge to ask again', 60_000, () => proxy.seen.length > count, 20);
        const waitedMs = systemClock.monotonicMs() - refusedAtMs;
        assert.ok(waitedMs >= 9500, `it asked again after ${waitedMs} ms`);
        await untilState('Connected');
      });
  });

  describe('that fails at one step of a request', () => {
    /** Each at a request of its own, all at once. */
    const faults: Record<string, [fault: Fault, times: number]> = {
      '409': [{ refuse: 409 }, 2],
      '410': [{ refuse: 410 }, 2],
      '429': [{ refuse: 429, retryAfterSeconds: 1 }, 2],
      '500': [{ refuse: 500 }, 2],
      'done-500': [{ lose: 500 }, 1],
      'done-409': [{ lose: 409 }, 1],
      'done-closed': [{ lose: 'closed' }, 1],
      'done-late': [{ delayAnswerMs: requestTimeoutMs + 1000 }, 1],
      late: [{ delayRequestMs: requestTimeoutMs + 1000 }, 1],
      silent: [{ silent: true }, 1],
    };
    it('comes to the end of every one, whichever step it was and however it failed', async () => {
      const nodes: string[] = [];
      const given: Record<string, () => number> = {};
      for (const step of ['approval', 'status']) {
        for (const [how, [fault, times]] of Object.entries(faults)) {
          const node = `${step}-${how}`;
          given[node] = give(fault, ({ method, path }) => method === 'PUT' && path === `${requestsPath}/csr-${node}/${step}`, times);
          nodes.push(node);
        }
      }
      for (const how of [409, 429, 500])
        given[`review-${how}`] = give({ refuse: how }, ({ path }) => path.endsWith('/subjectaccessreviews'), 2);
      await untilIssued(await Promise.all(nodes.map(ask)));
      assert.deepEqual(
        Object.keys(given).filter((name) => given[name]?.() === 0),
        [],
        'faults that never came about',
      );
    });
  });

  describe('whose watches', () => {
    const changes: Record<string, () => void> = {
      break: () => proxy.cutWatches(),
      'break within an event': () => proxy.cutWatches(true),
      'end in peace': () => proxy.endWatches(),
      'end at once, again and again': () => {
        give({ lose: 'closed' }, watches);
        proxy.cutWatches();
      },
      'have expired (HTTP 410)': () => {
        give({ refuse: 410 }, watches, 3);
        proxy.cutWatches();
      },
      'expire while they are open': () => proxy.tell(JSON.stringify({ type: 'ERROR', object: JSON.parse(statusText(410)) })),
      'tell an error': () => proxy.tell(JSON.stringify({ type: 'ERROR', object: JSON.parse(statusText(500)) })),
      'tell nonsense': () => proxy.tell('nonsense'),
      'have expired, and lists fail': () => {
        give({ refuse: 410 }, watches, 1);
        give({ refuse: 500 }, lists, 2);
        proxy.cutWatches();
      },
    };
    for (const [what, change] of Object.entries(changes)) {
      it(`${what}: it misses nothing`, async () => {
        const word = what.replace(/[^a-z0-9]+/g, '-');
        await until('a watch', recoveryMs, () => proxy.openWatches > 0);
        change();
        const during = await ask(`watch-${word}during`);
        if (proxy.faults.size > 0) await systemClock.sleep(isFullRun ? faultMs : 1000);
        proxy.heal();
        await untilIssued([during, await ask(`watch-${word}after`)]);
      });
    }

    it('tell everything twice, and old states after new ones: it is not misled', async () => {
      const lines: string[] = [];
      proxy.rewrite = (line) => {
        lines.push(line);
        const old = lines.filter((each) => each.includes('"csr-again')).slice(0, 3);
        return [line, line, ...old];
      };
      const names = await Promise.all(['again-1', 'again-2', 'again-3'].map(ask));
      await untilIssued(names);
      await systemClock.sleep(1500);
      proxy.heal();
      // What was told last were old states: whoever believes them goes on writing in vain.
      await untilState('Connected');
      const writes = proxy.seen.length;
      await systemClock.sleep(2000);
      const late = proxy.seen.slice(writes).filter(({ method, path }) => method === 'PUT' && path.includes('csr-again'));
      assert.deepEqual(late, []);
    });

    it('tell that a request is gone which is there: it is answered all the same', async () => {
      const names = await Promise.all(['gone-1', 'gone-2'].map(ask));
      proxy.rewrite = (line) => [line, line.replace('"type":"ADDED"', '"type":"DELETED"')];
      names.push(await ask('gone-3'));
      await systemClock.sleep(500);
      proxy.heal();
      proxy.endWatches();
      give({ refuse: 410 }, watches, 1);
      await untilIssued(names);
    });
  });

  describe('while the coordinator’s clock is wrong', () => {
    let library: string;
    before(function () {
      library = needTool(this, 'libfaketime', findLibrary);
    });

    for (const [what, shift] of Object.entries({ fast: '+120', slow: '-120' })) {
      it(`two minutes ${what}: it signs what holds at once`, async () => {
        await cluster.coordinator.stop();
        await cluster.coordinator.start({ LD_PRELOAD: library, FAKETIME: shift, FAKETIME_DONT_FAKE_MONOTONIC: '1' } satisfies Environment);
        const name = await ask(`clock-${what}`);
        await untilIssued([name]);
        const { certificate } = await outcomeOf(admin, name);
        const x509 = new X509Certificate(certificate);
        const nowMs = systemClock.nowMs();
        assert.ok(Date.parse(x509.validFrom) < nowMs && Date.parse(x509.validTo) > nowMs, `${x509.validFrom} to ${x509.validTo}`);
        const leftMs = Date.parse(x509.validTo) - nowMs;
        assert.ok(Math.abs(leftMs - 3_600_000 - Number(shift) * 1000) < 30_000, `the clock was not moved: ${leftMs}`);
      });
    }

    if (isFullRun)
      it('and right again', async () => {
        await cluster.coordinator.stop();
        await cluster.coordinator.start();
        await untilIssued([await ask('clock-right')]);
      });
  });

  describe('after all of that', () => {
    let certificates: Certificate[];
    before(async () => {
      certificates = await issuedCertificates(cluster);
    });

    it('has left no request without an answer', () => untilIssued(made));

    it('has signed each request once, and answered it with what is recorded', async () => {
      assert.deepEqual(sharedKeys(certificates), []);
      const recorded = certificates.filter(({ name }) => name === 'kubelet-client.csr').map(({ node, serial }) => `${node} ${serial}`);
      const answered = await Promise.all(
        made.map(
          async (name) => `${name.replace('csr-', '')} ${serialOf(new X509Certificate((await outcomeOf(admin, name)).certificate))}`,
        ),
      );
      assert.deepEqual(recorded.sort(), answered.sort());
    });

    it('has approved each request once', async () => {
      for (const name of made) {
        const { object } = await outcomeOf(admin, name);
        assert.deepEqual(
          (object.status?.conditions ?? []).map(({ type }) => type),
          ['Approved'],
          name,
        );
      }
    });
  });
});
