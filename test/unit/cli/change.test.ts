import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority, Cluster, CoordinatorInstance, Role, Token } from '@evercert/proto';
import { parse } from 'yaml';
import { at, fakeApi, node, run } from './support.ts';

const nodeYaml = `apiVersion: evercert.io/v1
kind: Node
metadata: { name: w-1 }
spec: { role: worker }
`;
const bundleYaml = `apiVersion: evercert.io/v1
kind: TrustBundleManifest
metadata: { name: extra-ca }
spec: { issuer: cluster-ca, file: /etc/kubernetes/extra.crt }
`;

describe('evercert apply, diff and delete', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-cli-'));
    writeFileSync(join(folder, 'node.yaml'), nodeYaml);
    writeFileSync(join(folder, 'bundle.yml'), bundleYaml);
    writeFileSync(join(folder, 'notes.txt'), 'not a manifest');
    writeFileSync(join(folder, 'bad.txt'), 'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: w-1 }\nspec: { rolle: worker }\n');
  });
  after(() => rmSync(folder, { recursive: true }));

  const object = { kind: 'Node', name: 'w-1', action: 'configured', before: 'a: 1\n', after: 'a: 2\n' };
  const affected = [
    { node: 'w-1', certificate: 'kubelet-serving', action: 'reissue' },
    { node: 'w-2', certificate: 'web', action: 'issue' },
    { node: 'w-3', certificate: 'old', action: 'remove' },
  ];
  const applyApi = () =>
    fakeApi({ apply: () => ({ objects: [object], affected, revocationMatches: [], warnings: ['the provisioner is not configured'] }) });

  it('applies the YAML files of a folder in one step, and says which certificates that touches', async () => {
    const api = applyApi();
    const outcome = await run(['apply', '-f', folder], { api });
    assert.deepEqual(outcome, {
      exitCode: 0,
      out: 'node/w-1 configured\ncertificate/w-1/kubelet-serving will be re-issued\ncertificate/w-2/web will be issued\ncertificate/w-3/old will be removed\n',
      err: 'Warning: the provisioner is not configured\n',
    });
    assert.deepEqual(api.calls[0]?.request, {
      cluster: 'demo',
      documents: [
        { source: join(folder, 'bundle.yml'), yaml: bundleYaml },
        { source: join(folder, 'node.yaml'), yaml: nodeYaml },
      ],
      dryRun: false,
    });
  });

  it('changes nothing in a dry run, and says so', async () => {
    const api = applyApi();
    const { out } = await run(['apply', '-f', '-', '--dry-run'], { api, stdin: nodeYaml });
    assert.equal((api.calls[0]!.request as { dryRun: boolean }).dryRun, true);
    assert.match(out, /^node\/w-1 configured \(dry run\)\ncertificate\/w-1\/kubelet-serving would be re-issued\n/);
  });

  it('finds faults before it connects, with file and line', async () => {
    const outcome = await run(['apply', '-f', 'bad.txt'], { cwd: folder });
    assert.equal(outcome.exitCode, 2);
    assert.match(
      outcome.err,
      /^error: the documents are not valid: [\s\S]*\n {2}bad\.txt:4:9: spec\.rolle: unknown key "rolle"; did you mean "role"/,
    );
  });

  it('takes the cluster from the documents where they name one, and refuses several', async () => {
    const inCluster = (name: string): string => nodeYaml.replace('{ name: w-1 }', `{ name: w-${name}, cluster: ${name} }`);
    const api = applyApi();
    await run(['apply', '-f', '-'], { api, stdin: inCluster('prod') });
    assert.equal((api.calls[0]!.request as { cluster: string }).cluster, 'prod');
    const several = await run(['apply', '-f', '-'], { api: applyApi(), stdin: `${inCluster('prod')}---\n${inCluster('test')}` });
    assert.equal(several.exitCode, 2);
    assert.match(several.err, /for several clusters \(prod, test\)/);
    const none = await run(['apply', '-f', '-', '--context', 'all'], { api: applyApi(), stdin: nodeYaml });
    assert.match(none.err, /^error: this command needs a cluster: name it with --cluster/);
  });

  it('refuses what it cannot read', async () => {
    for (const args of [['-f', 'missing.yaml'], [], ['-f', '-', '-f', '-'], ['-f', '/dev/null']]) {
      const { exitCode, err } = await run(['apply', ...args], { api: applyApi(), cwd: folder });
      assert.equal(exitCode, 2, args.join(' '));
      assert.match(err, /^error: /);
    }
    const empty = await run(['apply', '-f', '-'], { api: applyApi(), stdin: '# nothing\n' });
    assert.deepEqual([empty.exitCode, empty.err], [2, 'error: no document found in what -f names\n']);
  });

  it('diffs with exit code 0 for nothing to do, 1 for differences and more for errors', async () => {
    const api = applyApi();
    const changed = await run(['diff', '-f', '-'], { api, stdin: nodeYaml });
    assert.equal(changed.exitCode, 1);
    assert.match(changed.out, /^diff -u live\/node\/w-1 merged\/node\/w-1\n[\s\S]*-a: 1\n\+a: 2\n$/);
    assert.equal((api.calls[0]!.request as { dryRun: boolean }).dryRun, true);
    const same = fakeApi({ apply: () => ({ objects: [{ ...object, after: 'a: 1\n' }], affected: [] }) });
    assert.deepEqual(await run(['diff', '-f', '-'], { api: same, stdin: nodeYaml }), { exitCode: 0, out: '', err: '' });
    const failing = fakeApi({
      apply: () => {
        throw new Error('boom');
      },
    });
    assert.equal((await run(['diff', '-f', '-'], { api: failing, stdin: nodeYaml })).exitCode, 2);
    assert.equal((await run(['diff', '-f', 'bad.txt'], { cwd: folder })).exitCode, 2);
  });

  it('deletes manifests by type and name, and says what that takes away', async () => {
    const api = fakeApi({ deleteManifest: () => ({ affected: affected.slice(2) }) });
    const { out, exitCode } = await run(['delete', 'certificatemanifest', 'web'], { api });
    assert.deepEqual([exitCode, out], [0, 'certificate/w-3/old will be removed\ncertificatemanifest "web" deleted\n']);
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo', kind: 'CertificateManifest', name: 'web', dryRun: false });
  });

  it('deletes nodes and clusters only when that is confirmed', async () => {
    const handlers = { deleteNode: () => ({}), deleteCluster: () => ({}), listNodes: () => ({ nodes: [node('w-1')] }) };
    const unconfirmed = await run(['delete', 'node', 'w-1'], { api: fakeApi(handlers) });
    assert.equal(unconfirmed.exitCode, 2);
    assert.match(unconfirmed.err, /confirm it with --yes/);
    assert.match((await run(['delete', 'cluster/demo'], { api: fakeApi(handlers) })).err, /CA keys are destroyed.*--yes/);
    const api = fakeApi(handlers);
    assert.equal((await run(['delete', 'node', 'w-1', '--dry-run'], { api })).out, 'node "w-1" deleted (dry run)\n');
    assert.deepEqual(
      api.calls.map((call) => call.method),
      ['listNodes', 'close'],
    );
    assert.equal((await run(['delete', 'node/w-1', '--yes'], { api: fakeApi(handlers) })).out, 'node "w-1" deleted\n');
  });

  it('deletes what files declare, nodes last', async () => {
    const api = fakeApi({ deleteManifest: () => ({ affected: [] }), deleteNode: () => ({}) });
    const { out } = await run(['delete', '-f', '-', '--yes'], { api, stdin: `${nodeYaml}---\n${bundleYaml}` });
    assert.equal(out, 'trustbundlemanifest "extra-ca" deleted\nnode "w-1" deleted\n');
  });

  it('refuses to delete what it cannot', async () => {
    for (const args of [['certificate', 'w-1/web'], ['manifest', 'web'], ['node'], [], ['node', 'a', '-f', 'b']]) {
      assert.equal((await run(['delete', ...args], { api: fakeApi({}) })).exitCode, 2, args.join(' '));
    }
  });
});

describe('evercert token, cluster and renew', () => {
  const info = Token.fromPartial({ id: 'abcdef', cluster: 'demo', role: Role.WORKER, maxUses: 1, expiresAt: at(86_400), createdAt: at(0) });
  const tokenApi = () =>
    fakeApi({
      createToken: () => ({ token: 'abcdef.0123456789abcdef', info, caPin: 'sha256:00', caPins: [] }),
      getServerInfo: () => ({
        version: '0.1.0',
        identity: 'admin/admin',
        caPin: 'sha256:00',
        caPins: [],
        address: 'coordinator.example:7443',
      }),
    });

  it('creates a token and prints nothing else, for scripts', async () => {
    const api = tokenApi();
    const { out } = await run(['token', 'create', '--role', 'worker', '--ttl', '90m', '--label', 'zone=a', '--label', 'x='], { api });
    assert.equal(out, 'abcdef.0123456789abcdef\n');
    assert.deepEqual(api.calls[0]?.request, {
      cluster: 'demo',
      role: Role.WORKER,
      nodeName: '',
      lifetime: { seconds: 5400, nanos: 0 },
      maxUses: 1,
      kubernetes: false,
      kubernetesGroups: [],
      description: '',
      labels: { zone: 'a', x: '' },
      addresses: [],
      dnsNames: [],
    });
  });

  it('asks for a token of the API server in the group of kubeadm, or in those that are named', async () => {
    const api = tokenApi();
    const create = ['token', 'create', '--role', 'worker', '--kubernetes'];
    await run(create, { api });
    await run([...create, '--groups', 'system:bootstrappers:a', 'system:bootstrappers:b'], { api });
    assert.deepEqual(
      api.calls.flatMap(({ request }) => (request as { kubernetesGroups?: string[] } | undefined)?.kubernetesGroups ?? []),
      ['system:bootstrappers:kubeadm:default-node-token', 'system:bootstrappers:a', 'system:bootstrappers:b'],
    );
    const { exitCode, err } = await run(['token', 'create', '--role', 'worker', '--groups', 'x'], { api });
    assert.equal(exitCode, 2);
    assert.match(err, /--groups goes with --kubernetes/);
  });

  it("names all coordinators that serve in the agent's configuration", async () => {
    const coordinators = ['b.example:7443', 'a.example:7443'].map((address) => CoordinatorInstance.fromPartial({ id: address, address }));
    const api = fakeApi({
      createToken: () => ({ token: 'abcdef.0123456789abcdef', info, caPin: 'sha256:00', caPins: [] }),
      getServerInfo: () => ({ address: 'b.example:7443' }),
      listCoordinators: () => ({ coordinators }),
    });
    const { out } = await run(['token', 'create', '--role', 'worker', '--print-agent-config'], { api });
    assert.deepEqual((parse(out) as { coordinator: { endpoints: string[] } }).coordinator.endpoints, ['b.example:7443', 'a.example:7443']);
  });

  it("prints the agent's configuration with everything that it needs to join", async () => {
    const args = ['token', 'create', '--role', 'control-plane', '--node-name', 'cp-1', '--address', '10.0.0.1', '--print-agent-config'];
    assert.deepEqual(parse((await run(args, { api: tokenApi() })).out), {
      coordinator: { endpoints: ['coordinator.example:7443'], caPins: ['sha256:00'] },
      node: { name: 'cp-1' },
      token: 'abcdef.0123456789abcdef',
    });
  });

  it('refuses tokens that make no sense', async () => {
    const cases = [['--address', '10.0.0.1'], ['--uses', '-1'], ['--uses=1.5'], ['--ttl', 'soon'], ['--label', 'zone'], ['--role', 'boss']];
    for (const args of cases)
      assert.equal((await run(['token', 'create', '--role', 'worker', ...args], { api: tokenApi() })).exitCode, 2, args.join(' '));
    assert.match((await run(['token', 'create'], { api: tokenApi() })).err, /required option '--role <role>' not specified/);
  });

  it('lists and deletes tokens, never showing the secret half', async () => {
    const { out } = await run(['token', 'list'], { api: fakeApi({ listTokens: () => ({ tokens: [info] }) }) });
    assert.equal(
      out,
      'ID       ROLE     NODE    USES   EXPIRES   AGE   DESCRIPTION\nabcdef   worker   <any>   0/1    in 1d     0s    <none>\n',
    );
    const api = fakeApi({ deleteToken: () => ({}) });
    assert.equal((await run(['token', 'delete', 'abcdef.0123456789abcdef'], { api })).out, 'token "abcdef" deleted\n');
    assert.deepEqual(api.calls[0]?.request, { id: 'abcdef' });
  });

  it('creates a cluster with its policy, and prints the pins of its CAs', async () => {
    const ca = CertificateAuthority.fromPartial({
      cluster: 'prod',
      name: 'cluster-ca',
      keyAlgorithm: 'rsa-4096',
      notAfter: at(0),
      publicKeyPin: 'sha256:11',
    });
    const api = fakeApi({ createCluster: ({ name }) => ({ cluster: Cluster.fromPartial({ name }), certificateAuthorities: [ca] }) });
    const args = [
      '--key-algorithm',
      'rsa-4096',
      '--node-address-range',
      '10.0.0.0/8',
      '--node-address-range',
      'fd00::/8',
      '--leaf-lifetime',
      '1m',
    ];
    const { out } = await run(['cluster', 'create', 'prod', ...args], { api });
    assert.equal(out, 'cluster/prod created\nca/cluster-ca created: rsa-4096, ends 2026-06-01T12:00:00Z, sha256:11\n');
    const { spec } = api.calls[0]!.request as { spec: Record<string, unknown> };
    assert.deepEqual([spec['leafLifetimeSeconds'], spec['nodeAddressRanges'], spec['layout']], [60, ['10.0.0.0/8', 'fd00::/8'], '']);
    assert.equal((await run(['cluster', 'create', 'prod', '--layout', 'odd'], { api })).exitCode, 2);
    assert.equal((await run(['cluster', 'create', 'prod', '--leaf-lifetime', '1500ms'], { api })).exitCode, 2);
  });

  it('asks a node for new certificates, and tells when it is not there to hear', async () => {
    const api = fakeApi({ renewCertificates: ({ certificates }) => ({ certificates, delivered: false }) });
    const outcome = await run(['renew', 'node/cp-1', '--certificate', 'apiserver', '--certificate', 'etcd-peer'], { api });
    assert.deepEqual(outcome, {
      exitCode: 0,
      out: 'certificate/cp-1/apiserver renewal requested\ncertificate/cp-1/etcd-peer renewal requested\n',
      err: 'node/cp-1 is not connected: it will renew them when it is\n',
    });
    assert.equal((await run(['renew', 'cluster/demo'], { api })).exitCode, 2);
    assert.equal((await run(['renew', 'node'], { api })).exitCode, 2);
  });
});
