import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ActionCall,
  type CreateCall,
  type NewNode,
  type NodeProvisioner,
  openProvisioners,
  type Provisioners,
  provisionersSchema,
} from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { parse } from 'yaml';
import { ClusterApi, coordinatorKubeconfig, type MachineObject, namespace, prepareClusterApi } from '../support/cluster-api.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until } from '../support/live.ts';

const token = 'abcdef.0123456789abcdef';

describe('replacing Machines of Cluster API', function () {
  this.timeout(60_000);
  let kubernetes: TestKubernetes;
  let prepared: { stop(): void } | undefined;
  let kubeconfig: string;
  let api: ClusterApi;
  let driver: NodeProvisioner;
  const opened: Provisioners[] = [];
  let count = 0;
  /** Names of objects that are not namespaced. */
  let node: string;

  before(async function () {
    const binaries = needKubernetes(this);
    kubernetes = await startKubernetes(binaries);
    prepared = await prepareClusterApi(kubernetes);
    await kubernetes.startControllers(binaries.controllerManager, ['disruption']);
    kubeconfig = await coordinatorKubeconfig(kubernetes);
  });

  after(async () => {
    prepared?.stop();
    await kubernetes?.stop();
  });

  beforeEach(async () => {
    count += 1;
    node = `worker-${count}`;
    api = new ClusterApi(kubernetes, `cluster-${count}`);
    driver = await open();
  });

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()));
    await api.stop();
  });

  describe('a Node', () => {
    beforeEach(async () => {
      await api.start(1);
      await api.adopt(node);
    });

    it('is cordoned, and uncordoned by the replacement that did it', async () => {
      await createNode(node);
      await driver.cordon(call('rp-one'));
      assert.equal((await nodeObject()).spec.unschedulable, true);
      await driver.uncordon(call('rp-two'));
      assert.equal((await nodeObject()).spec.unschedulable, true, 'another replacement does not take it back');
      await driver.uncordon(call('rp-one'));
      const { spec, metadata } = await nodeObject();
      assert.equal(spec.unschedulable, undefined);
      assert.deepEqual(metadata.annotations ?? {}, {});
      assert.deepEqual(ownAnnotations(await api.machineSet()), [], 'a cancelled replacement leaves no record');
    });

    it('stays cordoned when an admin had cordoned it before', async () => {
      await createNode(node, { spec: { unschedulable: true } });
      const { message } = await driver.cordon(call('rp-one'));
      assert.match(message, /cordoned already/);
      await driver.uncordon(call('rp-one'));
      assert.equal((await nodeObject()).spec.unschedulable, true);
    });
  });

  describe('a drain', () => {
    beforeEach(async () => {
      await api.start(1);
      await api.adopt(node);
      await createNode(node);
    });

    it('evicts what may be evicted, and leaves pods of DaemonSets and mirror pods', async () => {
      await pod('plain');
      await pod('done', { phase: 'Succeeded' });
      await pod('daemon', { owner: 'DaemonSet' });
      await pod('mirror', { annotations: { 'kubernetes.io/config.mirror': 'x' } });
      const { message } = await driver.drain({ ...call('rp-one'), timeoutMs: 10_000 });
      assert.match(message, /2 pods were evicted/);
      assert.deepEqual((await podNames()).sort(), ['daemon', 'mirror']);
    });

    it('respects a PodDisruptionBudget, names the pods that are left, and goes on once it is allowed', async () => {
      await pod('guarded', { labels: { app: node } });
      await kubernetes.ok('POST', '/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets', {
        apiVersion: 'policy/v1beta1',
        kind: 'PodDisruptionBudget',
        metadata: { name: node },
        spec: { minAvailable: 1, selector: { matchLabels: { app: node } } },
      });
      await untilBudget(({ currentHealthy, disruptionsAllowed }) => currentHealthy === 1 && disruptionsAllowed === 0);
      await assert.rejects(driver.drain({ ...call('rp-one'), timeoutMs: 2500 }), (error) => {
        assert.ok(error instanceof EvercertError && error.code === 'DeadlineExceeded', String(error));
        assert.match(error.message, /1 pod is left: default\/guarded \(a PodDisruptionBudget does not allow it\)/);
        return true;
      });
      assert.deepEqual(await podNames(), ['guarded']);
      await pod('elsewhere', { labels: { app: node }, on: 'another-node' });
      await untilBudget(({ disruptionsAllowed }) => disruptionsAllowed === 1);
      await driver.drain({ ...call('rp-one'), timeoutMs: 20_000 });
      assert.deepEqual(await podNames(), []);
      await kubernetes.ok('DELETE', '/api/v1/namespaces/default/pods/elsewhere');
    });

    it('does not wait for pods of a kubelet that does not answer', async () => {
      await pod('orphan', { graceSeconds: 1 });
      await readyCondition('Unknown');
      const { message } = await (await open({ drain: { skipWaitAfter: '1s' } })).drain({ ...call('rp-one'), timeoutMs: 20_000 });
      assert.match(message, /kubelet does not answer, so nobody confirms the end of default\/orphan/);
    });

    it('waits for pods of a kubelet that does answer', async () => {
      await pod('slow', { graceSeconds: 1 });
      await readyCondition('True');
      const impatient = await open({ drain: { skipWaitAfter: '0s' } });
      await assert.rejects(impatient.drain({ ...call('rp-one'), timeoutMs: 4000 }), /default\/slow \(it has not ended yet\)/);
      await kubernetes.ok('DELETE', '/api/v1/namespaces/default/pods/slow?gracePeriodSeconds=0');
      await impatient.drain({ ...call('rp-one'), timeoutMs: 4000 });
    });

    it('asks a person for what the configuration does not allow, and touches nothing', async () => {
      const careful = await open({ drain: { force: false, deleteEmptyDirData: false, ignoreDaemonSets: false } });
      await pod('daemon', { owner: 'DaemonSet' });
      await pod('plain');
      await pod('data', { owner: 'ReplicaSet', emptyDir: true });
      await pod('fine', { owner: 'ReplicaSet' });
      await assert.rejects(careful.drain({ ...call('rp-one'), timeoutMs: 4000 }), (error) => {
        assert.ok(error instanceof EvercertError && error.code === 'FailedPrecondition', String(error));
        for (const name of ['daemon (a DaemonSet', 'plain (no controller', 'data (it has data'])
          assert.ok(error.message.includes(`default/${name}`), error.message);
        return true;
      });
      assert.equal((await podNames()).length, 4);
    });

    afterEach(async () => {
      for (const name of await podNames()) await kubernetes.ok('DELETE', `/api/v1/namespaces/default/pods/${name}?gracePeriodSeconds=0`);
    });
  });

  describe('a Machine', () => {
    const refusals: Record<string, { change: () => Promise<unknown>; says: RegExp }> = {
      'of the control plane': {
        change: async () => patchMachine({ metadata: { labels: { 'cluster.x-k8s.io/control-plane': '' } } }),
        says: /is of the control plane: it is never removed/,
      },
      'of no MachineSet': {
        change: async () => patchMachine({ metadata: { ownerReferences: null } }),
        says: /belongs to no MachineSet/,
      },
      'whose successor another bootstrap provider would start': {
        change: () =>
          api.patch('machinesets', api.setName, {
            spec: {
              template: {
                spec: {
                  bootstrap: { configRef: { apiVersion: 'bootstrap.cluster.x-k8s.io/v1beta1', kind: 'KubeadmConfigTemplate', name: 'md' } },
                },
              },
            },
          }),
        says: /KubeadmConfigTemplate md, which would give the new machine no token/,
      },
      'of a Cluster that is paused': {
        change: () => api.patch('clusters', api.clusterName, { spec: { paused: true } }),
        says: /Cluster cluster-\d+ is paused/,
      },
      'of a MachineSet that is scaled to nothing': {
        change: () => api.patch('machinesets', api.setName, { spec: { replicas: 0 } }),
        says: /being scaled down/,
      },
    };
    for (const [what, { change, says }] of Object.entries(refusals)) {
      it(`${what} is not touched`, async () => {
        await api.start(1);
        await api.adopt(node);
        await change();
        for (const action of ['cordon', 'remove'] as const)
          await assert.rejects(driver[action](call('rp-one')), (error) => {
            assert.ok(error instanceof EvercertError && error.code === 'FailedPrecondition', String(error));
            assert.match(error.message, says);
            return true;
          });
        assert.ok((await oldMachine()) !== undefined);
        assert.deepEqual(ownAnnotations(await api.machineSet()), []);
      });
    }

    it('that is held by a finalizer is waited for, for a time, and by another coordinator after that', async () => {
      await api.start(1);
      await api.adopt(node);
      api.holdDeletions = true;
      const impatient = await open({ removeTimeout: '1s' });
      await assert.rejects(impatient.remove(call('rp-one')), (error) => {
        assert.ok(error instanceof EvercertError && error.code === 'DeadlineExceeded', String(error));
        assert.match(error.message, /finalizers: machine\.cluster\.x-k8s\.io/);
        return true;
      });
      const removed = (await open()).remove(call('rp-one'));
      await systemClock.sleep(700);
      api.holdDeletions = false;
      await removed;
      assert.equal(await oldMachine(), undefined);
      assert.equal((await allocated('rp-one')).name, api.made[1]);
    });

    it('that was deleted by somebody else has its successor found all the same', async () => {
      await api.start(1);
      const { metadata } = await api.adopt(node);
      await driver.cordon(call('rp-one'));
      await kubernetes.ok('DELETE', `/apis/cluster.x-k8s.io/v1beta1/namespaces/${namespace}/machines/${metadata.name}`);
      await driver.remove(call('rp-one'));
      assert.equal((await allocated('rp-one')).name, api.made[1]);
    });

    it('is deleted by the name of its Node, or by what a replacement called its node', async () => {
      await api.start(1);
      await api.adopt('ip-10-0-0-1.example.com');
      await patchMachine({ metadata: { annotations: { 'evercert.io/node-name': node } } }, 'ip-10-0-0-1.example.com');
      await driver.remove(call('rp-one'));
      assert.equal((await api.machines()).length, 1);
      assert.equal(api.made.length, 2);
    });

    function patchMachine(change: object, of = node): Promise<unknown> {
      return api.machines().then((machines) => {
        const machine = machines.find(({ status }) => status?.nodeRef?.name === of);
        return api.patch('machines', machine?.metadata.name ?? '', change);
      });
    }
  });

  describe('the new Machine', () => {
    it('is not one that had been made for another reason', async () => {
      await api.start(2);
      await api.adopt(node);
      await until('the other Machine', 10_000, async () => (await api.machines()).length === 2);
      const other = (await api.machines()).find(({ status }) => status?.nodeRef === undefined)?.metadata.name;
      await driver.remove(call('rp-one'));
      const { name } = await allocated('rp-one');
      assert.notEqual(name, other);
      assert.deepEqual((await api.machines()).map(({ metadata }) => metadata.name).sort(), [name, other].sort());
    });

    it('is told as not known yet until it is there', async () => {
      await api.start(1);
      await api.adopt(node);
      await driver.remove(call('rp-one'));
      await until('the new Machine', 10_000, async () => api.made.length === 2);
      await driver.allocate(call('rp-other')).catch(() => undefined);
      await api.patch('machinesets', api.setName, { spec: { replicas: 1 } });
      await assert.rejects(driver.allocate(call('rp-one', 2)), (error) => {
        assert.ok(error instanceof EvercertError && error.code === 'Unavailable', String(error));
        assert.ok((error.retryAfterMs ?? 0) > 0);
        return true;
      });
    });

    it('is another one for each of two replacements at once', async () => {
      await api.start(2);
      await api.adopt(node);
      await api.adopt(`${node}-b`);
      const calls = [call('rp-one'), { ...call('rp-two'), node: { ...call('rp-two').node, name: `${node}-b` } }];
      await Promise.all(calls.map((each) => untilDone(() => driver.remove(each))));
      const names = await Promise.all(calls.map(async (each) => (await untilDone(() => driver.allocate(each))).name));
      assert.equal(new Set(names).size, 2);
      assert.deepEqual(names.toSorted(), api.made.slice(2).toSorted());
    });

    it('gets a cloud-config with what its agent needs, in a Secret that is its own', async () => {
      const folder = temporaryFolder('template');
      const cloudConfigFile = join(folder, 'user-data.yaml');
      writeFileSync(
        cloudConfigFile,
        '#cloud-config\npackages: [evercert-agent]\nruncmd:\n  - [touch, /first]\nwrite_files:\n  - {path: /a, content: b}\n',
      );
      const own = await open({
        bootstrap: { secretTemplate: { labels: { team: 'x' }, cloudConfigFile }, agent: { log: { level: 'debug' } } },
      });
      await api.start(1);
      await api.adopt(node);
      await driver.remove(call('rp-one'));
      const newNode = await allocated('rp-one');
      api.holdBoots = true;
      await own.create(create('rp-one', newNode));
      rmSync(folder, { recursive: true });

      let machine: MachineObject | undefined;
      await until('the Machine to know its Secret', 10_000, async () => {
        [machine] = await api.machines();
        return machine?.spec.bootstrap.dataSecretName !== undefined;
      });
      const secretName = machine?.spec.bootstrap.dataSecretName ?? '';
      const path = `/api/v1/namespaces/${namespace}/secrets/${secretName}`;
      const secret = await kubernetes.ok('GET', path);
      assert.equal(secret.type, 'cluster.x-k8s.io/secret');
      assert.deepEqual(secret.metadata.labels, { team: 'x', 'cluster.x-k8s.io/cluster-name': api.clusterName });
      const [{ kind, name, uid }] = secret.metadata.ownerReferences;
      assert.deepEqual({ kind, name, uid }, { kind: 'Machine', name: newNode.name, uid: machine?.metadata.uid });
      assert.equal(Buffer.from(secret.data.format, 'base64').toString(), 'cloud-config');
      const text = Buffer.from(secret.data.value, 'base64').toString();
      assert.ok(text.startsWith('## template: jinja\n#cloud-config\n'));
      const { packages, write_files, runcmd } = parse(text);
      assert.deepEqual(packages, ['evercert-agent']);
      assert.deepEqual(runcmd, [
        ['touch', '/first'],
        ['systemctl', 'enable', '--now', 'evercert-agent'],
      ]);
      assert.deepEqual(
        write_files.map((file: { path: string; permissions?: string }) => [file.path, file.permissions]),
        [
          ['/a', undefined],
          ['/etc/evercert-agent/agent.yaml', '0644'],
          ['/etc/evercert-agent/token', '0600'],
        ],
      );
      assert.equal(write_files[2].content, `${token}\n`);
      assert.deepEqual(parse(write_files[1].content), {
        log: { level: 'debug' },
        coordinator: { endpoints: ['127.0.0.1:1'], caPins: [`sha256:${'0'.repeat(64)}`] },
        node: { name: newNode.name },
        tokenFile: '/etc/evercert-agent/token',
      });
      const elsewhere = JSON.stringify([await api.machines(), await api.machineSet()]);
      assert.ok(!elsewhere.includes(token) && !JSON.stringify(secret.metadata).includes(token), 'the token stands nowhere else');

      await own
        .create({ ...create('rp-one', newNode), join: { ...create('rp-one', newNode).join, token: 'fedcba.fedcba9876543210' } })
        .catch((error: unknown) => assert.match(String(error), /cloud-config template/));
      await driver.create({ ...create('rp-one', newNode), join: { ...create('rp-one', newNode).join, token: 'fedcba.fedcba9876543210' } });
      const renewed = await kubernetes.ok('GET', path);
      assert.equal(renewed.metadata.uid, secret.metadata.uid);
      assert.match(Buffer.from(renewed.data.value, 'base64').toString(), /fedcba\.fedcba9876543210/);
    });

    it('names its Secret itself where it has no bootstrap configuration', async () => {
      await api.start(1, { bootstrap: {} });
      await api.adopt(node);
      await driver.remove(call('rp-one'));
      const newNode = await allocated('rp-one');
      await driver.create(create('rp-one', newNode));
      const [machine] = await api.machines();
      assert.equal(machine?.spec.bootstrap.dataSecretName, `${newNode.name}-evercert-bootstrap`);
      await until('the machine to boot', 10_000, () => api.booted.has(newNode.name));
    });

    it('is discarded with its Secret, and only by the replacement that it belongs to', async () => {
      await api.start(1);
      await api.adopt(node);
      await driver.remove(call('rp-one'));
      const newNode = await allocated('rp-one');
      await driver.create(create('rp-one', newNode));
      await driver.discard({ ...call('rp-two'), newNode });
      assert.ok((await api.machines()).some(({ metadata }) => metadata.name === newNode.name));
      await driver.discard({ ...call('rp-one'), newNode });
      const secrets = await kubernetes.ok('GET', `/api/v1/namespaces/${namespace}/secrets`);
      assert.deepEqual(
        secrets.items.filter(({ metadata }: { metadata: { name: string } }) => metadata.name.startsWith(newNode.name)),
        [],
      );
      await assert.rejects(
        driver.create(create('rp-one', newNode)),
        (error) => error instanceof EvercertError && error.code === 'NotFound',
      );
    });
  });

  describe('the coordinator’s user', () => {
    it('may not read Secrets, and is told what it lacks', async () => {
      const answer = await kubernetes.send('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: 'system:serviceaccount:evercert:evercert-coordinator',
          resourceAttributes: { namespace, verb: 'get', resource: 'secrets' },
        },
      });
      assert.equal(answer.body.status.allowed, false);
      await api.start(1);
      await api.adopt(node);
      const nobody = await open({ kubeconfig: await kubernetes.kubeconfigFor('nobody', { commonName: 'nobody' }) });
      await assert.rejects(nobody.remove(call('rp-one')), (error) => {
        assert.ok(error instanceof EvercertError && error.code === 'PermissionDenied', String(error));
        assert.match(error.message, /deploy\/kubernetes\/cluster-api-rbac\.yaml/);
        return true;
      });
    });

    it('has a kubeconfig that can be used, or is told so', async () => {
      await api.start(1);
      const folder = temporaryFolder('kubeconfig');
      const path = join(folder, 'kubeconfig');
      const broken = await open({ kubeconfig: path });
      await assert.rejects(broken.cordon(call('rp-one')), (error) => error instanceof EvercertError && error.code === 'FailedPrecondition');
      writeFileSync(
        path,
        `{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}],
        users: [{name: a, user: {token: x}}], contexts: [{name: a, context: {cluster: a, user: a}}], current-context: a}`,
      );
      await assert.rejects(broken.cordon(call('rp-one')), (error) => error instanceof EvercertError && error.code === 'Unavailable');
      rmSync(folder, { recursive: true });
    });
  });

  async function open(more: object = {}): Promise<NodeProvisioner> {
    const configs = provisionersSchema.parse({
      capi: { type: 'cluster-api', kubeconfig, namespace, clusterName: api.clusterName, ...more },
    });
    const provisioners = await openProvisioners(configs, { clock: systemClock, logger: silentLogger, stateDir: '/nowhere' });
    opened.push(provisioners);
    return provisioners.get('capi') as NodeProvisioner;
  }

  function call(replacementId: string, attempt = 1): ActionCall {
    const worker = { name: node, labels: { zone: 'a' }, addresses: [], dnsNames: [] };
    const signal = new AbortController().signal;
    return { idempotencyKey: `${replacementId}-${attempt}-x`, replacementId, attempt, cluster: 'demo', node: worker, signal };
  }

  function create(replacementId: string, newNode: NewNode): CreateCall {
    const join = { token, tokenExpiresAtMs: 0, endpoints: ['127.0.0.1:1'], caPins: [`sha256:${'0'.repeat(64)}`] };
    return { ...call(replacementId), newNode, join };
  }

  function allocated(replacementId: string): Promise<NewNode> {
    return untilDone(() => driver.allocate(call(replacementId)));
  }

  /** As the saga does: again while it is Unavailable. */
  async function untilDone<T>(action: () => Promise<T>): Promise<T> {
    let result: T | undefined;
    await until('the action to be done', 20_000, async () => {
      try {
        result = await action();
        return true;
      } catch (error) {
        if (error instanceof EvercertError && error.code === 'Unavailable') return false;
        throw error;
      }
    });
    return result as T;
  }

  async function oldMachine() {
    return (await api.machines()).find(({ status }) => status?.nodeRef?.name === node);
  }

  function ownAnnotations({ metadata }: { metadata: { annotations?: Record<string, string> } }): string[] {
    return Object.keys(metadata.annotations ?? {}).filter((name) => name.includes('evercert'));
  }

  function createNode(name: string, more: object = {}): Promise<unknown> {
    return kubernetes.ok('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name }, ...more });
  }

  async function nodeObject() {
    return kubernetes.ok('GET', `/api/v1/nodes/${node}`);
  }

  function readyCondition(status: string): Promise<unknown> {
    return kubernetes.ok('PATCH', `/api/v1/nodes/${node}/status`, { status: { conditions: [{ type: 'Ready', status }] } });
  }

  interface PodOptions {
    owner?: string;
    labels?: object;
    annotations?: object;
    phase?: string;
    emptyDir?: boolean;
    graceSeconds?: number;
    on?: string;
  }

  /** Without a grace period a pod is gone as soon as it is evicted: no kubelet runs here. */
  async function pod(name: string, options: PodOptions = {}): Promise<void> {
    const { owner, labels = {}, annotations = {}, phase = 'Running', emptyDir = false, graceSeconds = 0, on = node } = options;
    const references = owner === undefined ? [] : [{ apiVersion: 'apps/v1', kind: owner, name: 'owner', uid: name, controller: true }];
    await kubernetes.ok('POST', '/api/v1/namespaces/default/pods', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels, annotations, ownerReferences: references },
      spec: {
        nodeName: on,
        terminationGracePeriodSeconds: graceSeconds,
        containers: [{ name: 'main', image: 'example.com/none' }],
        ...(emptyDir ? { volumes: [{ name: 'data', emptyDir: {} }] } : {}),
      },
    });
    const status = { phase, conditions: [{ type: 'Ready', status: 'True' }] };
    await kubernetes.ok('PATCH', `/api/v1/namespaces/default/pods/${name}/status`, { status });
  }

  async function podNames(): Promise<string[]> {
    const { items } = await kubernetes.ok('GET', `/api/v1/pods?fieldSelector=spec.nodeName%3D${node}`);
    return items.map(({ metadata }: { metadata: { name: string } }) => metadata.name);
  }

  async function untilBudget(is: (status: { currentHealthy: number; disruptionsAllowed: number }) => boolean): Promise<void> {
    await until('the budget', 40_000, async () => {
      const { status } = await kubernetes.ok('GET', `/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets/${node}`);
      return is(status ?? {});
    });
  }
});
