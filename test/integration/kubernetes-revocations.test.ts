import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalCluster, startLocalCluster } from '@evercert/local';
import type { Revocation } from '@evercert/proto';
import { parseDocuments } from '@evercert/shared/manifest';
import { parse, stringify } from 'yaml';
import { serveInstead, servesCustomResources } from '../support/custom-resources.ts';
import { type Kubectl, needKubectl } from '../support/kubectl.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until, untilReady } from '../support/live.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const sample = join(repositoryRoot, 'test/fixtures/founding-revocation.yaml');
const definitions = join(repositoryRoot, 'deploy/kubernetes/renewrevocation-crd.yaml');
const evercertBinary = join(repositoryRoot, 'cli', 'bin', 'evercert');
const founding = '/apis/certificates.microsoft.com/v1/namespaces/kube-system/renewrevocations';

describe('RenewRevocations of an API server', function () {
  this.timeout(300_000);
  let kubernetes: TestKubernetes;
  let kubectl: Kubectl;
  let cluster: LocalCluster;
  let runDir: string;
  let customResources: boolean;
  let instead: { close(): void } | undefined;

  before(async function () {
    const kubectlOf = needKubectl(this);
    kubernetes = await startKubernetes(needKubernetes(this));
    kubectl = kubectlOf(kubernetes.adminKubeconfig);
    customResources = await servesCustomResources(kubernetes);
    await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes/bridge-rbac.yaml'), 'utf8'));
    const kubeconfig = await kubernetes.kubeconfigFor('bridge', { commonName: 'evercert:bridge' });
    runDir = temporaryFolder('kubernetes-revocations');
    cluster = await startLocalCluster({
      runDir,
      controlPlanes: 1,
      workers: 1,
      leafLifetimeSeconds: 3600,
      autoRestart: false,
      coordinatorConfig: { kubernetes: { demo: { kubeconfig, revocations: true, requestTimeout: '5s' } } },
    });
    for (const node of cluster.nodes) await untilReady(node, 60_000);
  });

  after(async () => {
    await cluster?.stop();
    instead?.close();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  const evercert = (args: string[], input = ''): Promise<RunResult> =>
    run(evercertBinary, args, { input, env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml'), HOME: runDir } });

  async function revocations(): Promise<Revocation[]> {
    const api = await cluster.admin();
    return (await api.call(api.client.listRevocations, { cluster: 'demo', name: '' })).revocations;
  }

  const inForce = async (name: string): Promise<Revocation | undefined> => (await revocations()).find((one) => one.name === name);
  const untilInForce = (name: string): Promise<void> =>
    until(`${name} to be in force`, 20_000, async () => (await inForce(name)) !== undefined);
  const untilLifted = (name: string): Promise<void> =>
    until(`${name} to be lifted`, 20_000, async () => (await inForce(name)) === undefined);

  // biome-ignore lint/suspicious/noExplicitAny: objects as the server tells them.
  const objectOf = async (name: string, path = founding): Promise<any> => kubernetes.ok('GET', `${path}/${name}`);
  const untilState = async (name: string, state: string, path = founding): Promise<void> => {
    let last: unknown;
    const reached = async (): Promise<boolean> => {
      const { status, metadata } = await objectOf(name, path);
      last = status;
      return status?.state === state && status?.observedGeneration === metadata.generation;
    };
    await until(`${name} to be ${state}`, 20_000, reached).catch((error: unknown) => {
      throw new Error(`${String(error)}; its status: ${JSON.stringify(last)}`, { cause: error });
    });
  };
  const put = async (object: object): Promise<RunResult> => kubectl(['apply', '-f', '-'], JSON.stringify(object));
  const revocationOf = (name: string, entries: object[], apiVersion = 'certificates.microsoft.com/v1'): object => ({
    apiVersion,
    kind: 'RenewRevocation',
    metadata: { name, namespace: 'kube-system' },
    spec: { revocations: entries },
  });
  const serialOf = async (certificate: string): Promise<string> => {
    const api = await cluster.admin();
    const filter = { cluster: 'demo', node: 'cp-1', name: certificate, serial: '', includeSuperseded: false, pageSize: 10, pageToken: '' };
    return (await api.call(api.client.listCertificates, filter)).certificates[0]?.serial ?? '';
  };
  const renew = async (certificate: string): Promise<void> => {
    const api = await cluster.admin();
    await api.call(api.client.renewCertificates, { cluster: 'demo', node: 'cp-1', certificates: [certificate] });
  };

  it('says what is missing while the API server does not know them, and goes on when it does', async () => {
    const bridge = async (): Promise<{ state: string; message: string } | undefined> => {
      const api = await cluster.admin();
      return (await api.call(api.client.listClusters, {})).clusters[0]?.kubernetes;
    };
    await until('the bridge to miss the definition', 20_000, async () => /renewrevocation-crd\.yaml/.test((await bridge())?.message ?? ''));
    const applied = await kubectl(['apply', '-f', definitions]);
    assert.equal(applied.status, 0, applied.stderr);
    assert.match(applied.stdout, /renewrevocations\.certificates\.microsoft\.com created/);
    assert.match(applied.stdout, /renewrevocations\.evercert\.io created/);
    const { stdout, stderr } = await kubectl(['wait', '--for=condition=Established', '--timeout=20s', '-f', definitions]);
    assert.match(stdout, /condition met/, stderr);
    for (const group of ['certificates.microsoft.com', 'evercert.io']) {
      const { status } = await kubernetes.ok('GET', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/renewrevocations.${group}`);
      const wrong = status.conditions.filter(
        ({ type, status: is }: Record<string, string>) => (type === 'NonStructuralSchema') === (is === 'True'),
      );
      assert.deepEqual(wrong, [], 'the schema is structural, and its names are accepted');
    }
    if (!customResources) instead = await serveInstead(kubernetes, definitions);
    await until('the bridge to be well', 60_000, async () => (await bridge())?.state === 'Connected');
  });

  describe("the founding document's sample, applied to the letter", () => {
    const name = 'my-renew-revocation';
    let before: string;

    it('is in force, and kubectl shows it', async () => {
      before = await serialOf('apiserver');
      const applied = await kubectl(['apply', '-f', sample]);
      assert.equal(applied.status, 0, applied.stderr);
      await untilState(name, 'InEffect');
      await until('its matches to be counted', 20_000, async () => (await objectOf(name)).status.matchingCertificates > 0);
      const { stdout } = await kubectl(['get', 'renewrevocations', '-n', 'kube-system']);
      const [header, ...rows] = stdout.split('\n');
      const row = rows.find((line) => line.startsWith(name));
      assert.match(header ?? '', /^NAME +ENTRIES +MATCHES +REFUSED +STATE +AGE$/);
      assert.match(row ?? '', /^my-renew-revocation +5 +[1-9]\d* +0 +InEffect +\d+s$/);
      const { status } = await objectOf(name);
      assert.deepEqual(
        status.conditions.map(({ type, status: is, observedGeneration }: Record<string, unknown>) => [type, is, observedGeneration]),
        [
          ['Accepted', 'True', 1],
          ['InEffect', 'True', 1],
        ],
      );
    });

    it('counts the certificates that match as the coordinator does', async () => {
      const api = await cluster.admin();
      const filter = { cluster: 'demo', node: '', name: '', serial: '', includeSuperseded: true, pageSize: 1000, pageToken: '' };
      const { certificates } = await api.call(api.client.listCertificates, filter);
      const matching = certificates.filter(({ revokedBy }) => revokedBy.some(({ object }) => object === name));
      assert.equal((await objectOf(name)).status.matchingCertificates, matching.length);
    });

    it('is shown with its source, beside what was applied and revoked here', async () => {
      assert.equal((await evercert(['revoke', '--group', 'nobody', '--name', 'short', '-c', 'demo'])).status, 0);
      const here = {
        apiVersion: 'evercert.io/v1',
        kind: 'RenewRevocation',
        metadata: { name: 'here' },
        spec: { revocations: [{ kind: 'Group', group: 'none' }] },
      };
      assert.equal((await evercert(['apply', '-f', '-', '-c', 'demo'], JSON.stringify(here))).status, 0);
      const { stdout } = await evercert(['get', 'revocations', '-c', 'demo']);
      assert.match(stdout, /SOURCE/);
      assert.match(stdout, /^my-renew-revocation .* kubernetes$/m);
      assert.match(stdout, /^short .* evercert revoke$/m);
      assert.match(stdout, /^here .* evercert apply$/m);
      assert.equal((await evercert(['delete', 'revocation', 'short', 'here', '-c', 'demo'])).status, 0);
    });

    it('refuses a renewal, and tells it in status and events', async () => {
      await renew('apiserver');
      await until('the refusal to be told', 30_000, async () => (await objectOf(name)).status.refusals > 0);
      assert.equal(await serialOf('apiserver'), before);
      const { stdout } = await kubectl(['describe', 'renewrevocation', name, '-n', 'kube-system']);
      assert.match(stdout, /Normal +InEffect .*5 entries in force/);
      assert.match(
        stdout,
        /Warning +RenewalRefused .*refused to issue apiserver of node cp-1, by entry 3 \(DNS kubernetes\.default\.svc\)/,
      );
    });

    it('cannot be deleted or changed here', async () => {
      const deleted = await evercert(['delete', 'revocation', name, '-c', 'demo']);
      assert.equal(deleted.status, 6, deleted.stderr);
      assert.match(deleted.stderr, /kubectl -n kube-system delete renewrevocations\.certificates\.microsoft\.com my-renew-revocation/);
      const applied = await evercert(['apply', '-f', sample, '-c', 'demo']);
      assert.equal(applied.status, 6, applied.stderr);
      assert.match(applied.stderr, /comes from the API server/);
      assert.equal((await inForce(name))?.source, 'kubernetes');
    });

    it('stays in force while the API server is away, through a restart of the coordinator', async () => {
      await kubernetes.restartApiServer(async () => {
        await cluster.coordinator.stop();
        await cluster.coordinator.start();
        await until('the bridge to be cut off', 30_000, async () => {
          const api = await cluster.admin();
          return (await api.call(api.client.listClusters, {})).clusters[0]?.kubernetes?.state === 'Disconnected';
        });
        assert.ok(await inForce(name));
      });
      await untilState(name, 'InEffect');
      assert.equal((await inForce(name))?.generation, 1);
      assert.ok((await objectOf(name)).status.refusals > 0, 'what was refused before the restart is not forgotten');
    });

    it('is lifted by its deletion while the coordinator was away, and the renewal goes on at once', async () => {
      await cluster.coordinator.stop();
      assert.equal((await kubectl(['delete', '-f', sample, '--timeout=10s'])).status, 0);
      await cluster.coordinator.start();
      await untilLifted(name);
      await until('apiserver to be renewed', 60_000, async () => (await serialOf('apiserver')) !== before);
    });

    it('is lifted at once by its deletion', async () => {
      await kubectl(['apply', '-f', sample]);
      await untilInForce(name);
      await kubectl(['delete', '-f', sample]);
      await untilLifted(name);
    });
  });

  it('takes one that came while the coordinator was away, and one that was made anew', async () => {
    await cluster.coordinator.stop();
    await put(revocationOf('away', [{ kind: 'Group', group: 'a' }]));
    await cluster.coordinator.start();
    await untilInForce('away');
    await cluster.coordinator.stop();
    await kubectl(['delete', 'renewrevocation', 'away', '-n', 'kube-system']);
    await put(revocationOf('away', [{ kind: 'Group', group: 'b' }]));
    await cluster.coordinator.start();
    await until('the new one', 20_000, async () => (await inForce('away'))?.entries[0]?.value === 'b');
    await kubectl(['delete', 'renewrevocation', 'away', '-n', 'kube-system']);
    await untilLifted('away');
  });

  it("takes objects of Evercert's own group, too", async () => {
    const path = founding.replace('certificates.microsoft.com', 'evercert.io');
    const applied = await put(revocationOf('own', [{ kind: 'IP', ip: '10.255.0.1' }], 'evercert.io/v1'));
    assert.equal(applied.status, 0, applied.stderr);
    await untilState('own', 'InEffect', path);
    const { stdout } = await kubectl(['get', 'evercert', '-n', 'kube-system']);
    assert.match(stdout, /renewrevocation\.evercert\.io\/own/);
    // The same name in the other group is another object.
    await put(revocationOf('own', [{ kind: 'Group', group: 'other' }]));
    await untilState('own', 'NotAccepted');
    assert.match((await objectOf('own')).status.conditions[0].message, /renewrevocations\.evercert\.io own in namespace kube-system/);
    await kubectl(['delete', 'renewrevocations.evercert.io', 'own', '-n', 'kube-system']);
    await untilState('own', 'InEffect');
    assert.equal((await inForce('own'))?.entries[0]?.value, 'other');
    await kubectl(['delete', 'renewrevocation', 'own', '-n', 'kube-system']);
    await untilLifted('own');
  });

  it('never merges one with an object of the same name that was applied here', async () => {
    const entries = [{ kind: 'Group', group: 'here' }];
    await evercert(['apply', '-f', '-', '-c', 'demo'], JSON.stringify(revocationOf('taken', entries)));
    await put(revocationOf('taken', [{ kind: 'Group', group: 'there' }]));
    await untilState('taken', 'NotAccepted');
    const { conditions } = (await objectOf('taken')).status;
    assert.deepEqual([conditions[0].type, conditions[0].status, conditions[0].reason], ['Accepted', 'False', 'NameTaken']);
    assert.match(conditions[0].message, /evercert delete revocation taken/);
    assert.deepEqual([(await inForce('taken'))?.source, (await inForce('taken'))?.entries[0]?.value], ['evercert apply', 'here']);
    // The deletion of the one that was not taken lifts nothing.
    await kubectl(['delete', 'renewrevocation', 'taken', '-n', 'kube-system']);
    await put(revocationOf('taken', [{ kind: 'Group', group: 'there' }]));
    await untilState('taken', 'NotAccepted');
    assert.equal((await inForce('taken'))?.source, 'evercert apply');
    await evercert(['delete', 'revocation', 'taken', '-c', 'demo']);
    await untilState('taken', 'InEffect');
    assert.deepEqual([(await inForce('taken'))?.source, (await inForce('taken'))?.entries[0]?.value], ['kubernetes', 'there']);
    await kubectl(['delete', 'renewrevocation', 'taken', '-n', 'kube-system']);
    await untilLifted('taken');
  });

  it('says what is wrong with one that the schema lets through, and changes nothing by it', async () => {
    await put(revocationOf('faulty', [{ kind: 'DNS', dns: 'good.example' }]));
    await untilState('faulty', 'InEffect');
    const applied = await put(
      revocationOf('faulty', [
        { kind: 'DNS', dns: 'good.example' },
        { kind: 'DNS', dns: 'a..b' },
      ]),
    );
    assert.equal(applied.status, 0, applied.stderr);
    await untilState('faulty', 'EarlierInEffect');
    const { conditions, entries } = (await objectOf('faulty')).status;
    assert.equal(conditions[0].reason, 'Invalid');
    assert.match(conditions[0].message, /^spec\.revocations\[1\]\.dns: /);
    assert.deepEqual([conditions[1].type, conditions[1].status, conditions[1].observedGeneration, entries], ['InEffect', 'True', 1, 1]);
    assert.equal((await inForce('faulty'))?.entries.length, 1);
    await put(revocationOf('faulty', [{ kind: 'DNS', dns: 'better.example' }]));
    await untilState('faulty', 'InEffect');
    await kubectl(['delete', 'renewrevocation', 'faulty', '-n', 'kube-system']);
    await untilLifted('faulty');
  });

  describe('the schema beside the parser', () => {
    const serial = '77fdf4b1033b387aaace6ce1c18710c2';
    const good: object[] = [
      { kind: 'serialnumber', serialNumber: serial },
      { kind: ' SerialNumber ', serialNumber: `0x${serial.toUpperCase()}` },
      { kind: 'SERIALNUMBER', serialNumber: '00:77:FD f4', includeSuccessors: false, reason: 'keyCompromise' },
      { kind: 'Group', group: ' system:nodes ', notBefore: '2020-04-17T17:22:05Z' },
      { kind: 'group', group: 'Büro', notBefore: ' 2020-04-17t17:22:05.123456789+02:00 ', description: 'x' },
      { kind: 'DNS', dns: 'kubernetes.default.svc.' },
      { kind: 'dns', dns: '.cluster.local' },
      { kind: 'Dns', dns: 'bücher.example' },
      { kind: 'DNS', dns: '*.example.com', notBefore: '2020-04-17 17:22:60Z' },
      { kind: 'IP', ip: '170.63.128.124' },
      { kind: 'Ip', ip: '::FFFF:10.0.0.1' },
    ];
    const bad: object[] = [
      { kind: 'Serial', serialNumber: serial },
      { serialNumber: serial },
      { kind: 'SerialNumber' },
      { kind: 'SerialNumber', serialNumber: '' },
      { kind: 'SerialNumber', serialNumber: '000' },
      { kind: 'SerialNumber', serialNumber: 'xyz' },
      { kind: 'SerialNumber', serialNumber: serial, group: 'a' },
      { kind: 'Group', dns: 'a' },
      { kind: 'Group', group: '  ' },
      { kind: 'Group', group: 'a', includeSuccessors: true },
      { kind: 'Group', group: 'a'.repeat(257) },
      { kind: 'Group', group: 'a', reason: 'because' },
      { kind: 'Group', group: 'a', reason: 'removeFromCRL' },
      { kind: 'Group', group: 'a', notBefore: '2020-04-17' },
      { kind: 'Group', group: 'a', notBefore: '2020-13-17T17:22:05Z' },
      { kind: 'Group', group: 'a', notBefore: '2020-04-17T25:22:05Z' },
      { kind: 'Group', group: 'a', notBefore: '' },
      { kind: 'Group', group: 'a', description: 'd'.repeat(257) },
      { kind: 'DNS', dns: '' },
      { kind: 'IP', ip: 'example.com' },
      { kind: 'IP', ip: '10.0.0.0/8' },
    ];
    /** Not to be said in a schema; the condition tells them. */
    const onlyParser: object[] = [
      { kind: 'Group', group: 'a', notbefore: '2020-04-17T17:22:05Z' },
      { kind: 'Group', group: 'a', notBefore: null },
      { kind: 'Group', group: 'a', notBefore: '2021-02-29T17:22:05Z' },
      { kind: 'DNS', dns: 'a..b' },
      { kind: 'DNS', dns: '.' },
      { kind: 'DNS', dns: '10.0.0.1' },
      { kind: 'IP', ip: '1.2.3' },
      { kind: 'SerialNumber', serialNumber: `${serial}${serial}` },
    ];

    const parses = (entry: object): boolean =>
      parseDocuments(JSON.stringify(revocationOf('x', [entry])), { file: 'x' }).faults.length === 0;
    const isAdmitted = async (entry: object): Promise<boolean> => {
      const answer = await kubernetes.send('POST', `${founding}?dryRun=All`, revocationOf('x', [entry]));
      assert.ok([201, 422].includes(answer.status), JSON.stringify(answer.body));
      return answer.status === 201;
    };

    it('admits what the parser takes', async () => {
      for (const entry of good) assert.deepEqual([parses(entry), await isAdmitted(entry)], [true, true], JSON.stringify(entry));
    });

    it('refuses what the parser refuses', async () => {
      for (const entry of bad) assert.deepEqual([parses(entry), await isAdmitted(entry)], [false, false], JSON.stringify(entry));
    });

    it('loses nothing of what the parser alone can refuse: such an object revokes nothing, and says why', async () => {
      for (const [index, entry] of onlyParser.entries()) {
        assert.equal(parses(entry), false, JSON.stringify(entry));
        await kubernetes.ok('POST', founding, revocationOf(`parser-${index}`, [entry]));
      }
      for (const [index] of onlyParser.entries()) {
        await untilState(`parser-${index}`, 'NotAccepted');
        assert.match((await objectOf(`parser-${index}`)).status.conditions[0].message, /^spec\.revocations\[0\]/);
        assert.equal(await inForce(`parser-${index}`), undefined);
      }
      await kubectl(['delete', 'renewrevocations', '--all', '-n', 'kube-system']);
    });

    it('refuses a number where digits would be lost', async () => {
      const yaml = `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: number, namespace: kube-system }\nspec: { revocations: [{ kind: SerialNumber, serialNumber: 12e5 }] }\n`;
      const file = join(runDir, 'number.yaml');
      writeFileSync(file, yaml);
      const applied = await kubectl(['apply', '-f', file]);
      assert.notEqual(applied.status, 0);
      assert.match(applied.stderr, /must be of type string/);
    });
  });

  it('takes nothing from other namespaces', async () => {
    const path = founding.replace('kube-system', 'default');
    await kubernetes.ok('POST', path, { ...revocationOf('elsewhere', [{ kind: 'Group', group: 'a' }]), metadata: { name: 'elsewhere' } });
    await put(revocationOf('after', [{ kind: 'Group', group: 'a' }]));
    await untilInForce('after');
    assert.equal(await inForce('elsewhere'), undefined);
    await kubectl(['delete', 'renewrevocation', 'after', '-n', 'kube-system']);
    await untilLifted('after');
  });

  it('can be deleted here once the coordinator no longer follows them, and are back when it does again', async () => {
    const follow = async (revocations: boolean): Promise<void> => {
      await cluster.coordinator.stop();
      const { configPath } = cluster.coordinator;
      const config = parse(readFileSync(configPath, 'utf8'));
      config.kubernetes.demo.revocations = revocations;
      writeFileSync(configPath, stringify(config), { mode: 0o600 });
      await cluster.coordinator.start();
    };
    await put(revocationOf('last', [{ kind: 'Group', group: 'a' }]));
    await untilInForce('last');
    await follow(false);
    assert.ok(await inForce('last'), 'nothing is lifted by looking away');
    const deleted = await evercert(['delete', 'revocation', 'last', '-c', 'demo']);
    assert.equal(deleted.status, 0, deleted.stderr);
    assert.equal(await inForce('last'), undefined);
    await follow(true);
    await untilInForce('last');
  });
});
