import assert from 'node:assert/strict';
import { chooseKubeconfig, type KubeconfigMaterial, mergeKubeconfig } from '@evercert/agent/files';
import type { OutputSpec } from '@evercert/shared/manifest';
import fc from 'fast-check';
import { parse } from 'yaml';

type Output = Extract<OutputSpec, { type: 'kubeconfig' }>;

const embedded: Output = {
  type: 'kubeconfig',
  file: { path: '/etc/kubernetes/admin.conf', mode: 0o600 },
  clusterName: 'demo',
  server: 'https://10.0.0.1:6443',
  user: 'kubernetes-admin',
};
const referring: Output = {
  ...embedded,
  certificatePath: '/pki/admin.crt',
  privateKeyPath: '/pki/admin.key',
  certificateAuthorityPath: '/pki/ca.crt',
};
const first: KubeconfigMaterial = { chain: 'chain 1', privateKey: 'key 1', trustAnchors: 'ca 1' };
const second: KubeconfigMaterial = { chain: 'chain 2', privateKey: 'key 2', trustAnchors: 'ca 2' };
const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** As an admin left it: with what kubectl and people put into such files. */
const edited = `# Do not edit by hand, said somebody.
apiVersion: v1
kind: Config
clusters:
- name: staging # theirs
  cluster: { server: https://staging:6443, insecure-skip-tls-verify: true }
- cluster:
    certificate-authority-data: b2xk
    server: https://load-balancer:6443 # ours goes through here
    tls-server-name: kubernetes
  name: demo
contexts:
- context: { cluster: demo, namespace: kube-system, user: kubernetes-admin }
  name: ops
- context: { cluster: staging, user: dev }
  name: staging
current-context: staging
preferences: { colors: true }
extensions:
- { name: minikube, extension: { provider: x } }
users:
- name: dev
  user: { token: abc }
- name: kubernetes-admin
  user:
    # Renewed every four days.
    client-certificate-data: b2xk
    client-key-data: b2xk
`;

describe('a kubeconfig', () => {
  it('is written whole where there is none, with the material embedded or referred to', () => {
    for (const present of [undefined, '', ' \n']) {
      const { text, damaged } = mergeKubeconfig(embedded, first, present);
      assert.equal(damaged, false);
      assert.deepEqual(parse(text), {
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'demo', cluster: { 'certificate-authority-data': base64('ca 1'), server: 'https://10.0.0.1:6443' } }],
        contexts: [{ name: 'kubernetes-admin@demo', context: { cluster: 'demo', user: 'kubernetes-admin' } }],
        'current-context': 'kubernetes-admin@demo',
        preferences: {},
        users: [{ name: 'kubernetes-admin', user: { 'client-certificate-data': base64('chain 1'), 'client-key-data': base64('key 1') } }],
      });
    }
    const { users, clusters } = parse(mergeKubeconfig(referring, first, undefined).text);
    assert.deepEqual(users[0].user, { 'client-certificate': '/pki/admin.crt', 'client-key': '/pki/admin.key' });
    assert.equal(clusters[0].cluster['certificate-authority'], '/pki/ca.crt');
  });

  it('keeps all that an admin put there, to the letter, but our user’s credentials and our cluster’s CA', () => {
    const { text, damaged } = mergeKubeconfig(embedded, second, edited);
    assert.equal(damaged, false);
    const wanted = parse(edited);
    wanted.clusters[1].cluster['certificate-authority-data'] = base64('ca 2');
    wanted.users[1].user = { 'client-certificate-data': base64('chain 2'), 'client-key-data': base64('key 2') };
    assert.deepEqual(parse(text), wanted);
    const changed = text.split('\n').filter((line) => !edited.split('\n').includes(line));
    assert.deepEqual(
      changed.map((line) => line.trim().split(':')[0]),
      ['certificate-authority-data', 'client-certificate-data', 'client-key-data'],
    );
    for (const comment of ['# Do not edit', '# theirs', '# ours goes through here', '# Renewed every']) assert.ok(text.includes(comment));
  });

  it('comes back to the letter when our part is right already, however it is written', () => {
    const written = mergeKubeconfig(embedded, first, undefined).text;
    const quoted = written.replace('name: demo', 'name:   "demo"   # mine');
    for (const text of [written, quoted, mergeKubeconfig(embedded, first, edited).text]) {
      assert.deepEqual(mergeKubeconfig(embedded, first, text), { text, damaged: false, ours: true });
    }
  });

  it('takes up a change from embedded material to references, and back', () => {
    const refers = mergeKubeconfig(referring, first, mergeKubeconfig(embedded, first, undefined).text).text;
    assert.deepEqual(parse(refers).users[0].user, { 'client-certificate': '/pki/admin.crt', 'client-key': '/pki/admin.key' });
    assert.ok(!refers.includes('-data'));
    const embeds = mergeKubeconfig(embedded, first, refers).text;
    assert.ok(!embeds.includes('/pki/'));
  });

  it('gets our cluster, user and context where a file of others lacks them, and a context that can be chosen', () => {
    const others = 'apiVersion: v1\nkind: Config\nclusters: []\nusers:\ncontexts: []\ncurrent-context: gone\n';
    const merged = parse(mergeKubeconfig(embedded, first, others).text);
    assert.equal(merged.clusters[0].cluster.server, embedded.server);
    assert.equal(merged['current-context'], 'kubernetes-admin@demo');
    assert.equal(merged.users.length, 1);
    const renamed = parse(mergeKubeconfig(embedded, first, edited.replace('current-context: staging', 'current-context: ""')).text);
    assert.equal(renamed['current-context'], 'ops');
    assert.equal(renamed.contexts.length, 2);
  });

  it('is mended where our entries are of another shape', () => {
    const broken = edited.replace(/ {2}user:\n(?: {4}.*\n)+$/, '  user: none\n');
    assert.notEqual(broken, edited);
    assert.deepEqual(parse(mergeKubeconfig(embedded, first, broken).text).users[1].user, {
      'client-certificate-data': base64('chain 1'),
      'client-key-data': base64('key 1'),
    });
  });

  for (const [what, text] of [
    ['no YAML', 'clusters: [ {'],
    ['another document', 'apiVersion: v1\nkind: Pod\n'],
    ['a list', '- a\n- b\n'],
    ['binary', '\u0000\u0001\u0002'],
    ['lists of another shape', 'kind: Config\nusers: { a: b }\n'],
    ['nested without end', '['.repeat(20_000)],
  ] as const) {
    it(`is written anew, and called damaged, where the file holds ${what}`, () => {
      const { text: merged, damaged } = mergeKubeconfig(embedded, first, text);
      assert.equal(damaged, true);
      assert.equal(merged, mergeKubeconfig(embedded, first, undefined).text);
    });
  }

  it('ends right whatever is cut off or put into the file, and merging again changes nothing', () => {
    fc.assert(
      fc.property(fc.nat(edited.length), fc.string({ maxLength: 8 }), fc.nat(4), (at, inserted, cut) => {
        const present = edited.slice(0, at) + inserted + (cut === 0 ? '' : edited.slice(at));
        const { text } = mergeKubeconfig(embedded, second, present);
        const { users } = parse(text, { logLevel: 'silent' });
        const mine = users.find((user: { name: string }) => user?.name === 'kubernetes-admin');
        assert.equal(mine.user['client-key-data'], base64('key 2'));
        assert.deepEqual(mergeKubeconfig(embedded, second, text), { text, damaged: false, ours: true });
      }),
      { numRuns: 60 },
    );
  });

  describe('that is known to have held an admin’s part', () => {
    const known = mergeKubeconfig(embedded, first, edited).text;
    const choose = (present: string | undefined) => chooseKubeconfig(embedded, second, { present, known });
    const renewed = mergeKubeconfig(embedded, second, known).text;

    it('gets it back where the file is missing, empty, cut off or unreadable', () => {
      for (const [present, lost] of [
        [undefined, false],
        ['', false],
        [known.slice(0, known.length / 2), false],
        ['clusters: [ {', true],
      ] as const)
        assert.deepEqual(choose(present), { text: renewed, lost });
    });

    it('gets it back where another’s is in its place', () => {
      const others = mergeKubeconfig({ ...embedded, user: 'scheduler' }, first, undefined).text;
      assert.deepEqual(choose(others), { text: renewed, lost: true });
    });

    it('takes up what the admin changed since, also a part that was taken away', () => {
      const shorter = renewed.replace(/extensions:\n.*\n/, '');
      assert.notEqual(shorter, renewed);
      assert.deepEqual(choose(shorter), { text: shorter, lost: false });
      const longer = known.replace('contexts:\n', 'contexts:\n- { name: night, context: { cluster: demo, user: kubernetes-admin } }\n');
      assert.match(choose(longer).text, /name: night/);
    });
  });
});
