import assert from 'node:assert/strict';
import { parseDocuments, type ReloadSpec, resolveNode } from '@evercert/shared/manifest';
import { desiredBundleFromProto, desiredBundleToProto } from '@evercert/shared/wire';
import { clusterOf, nodeOf } from './support.ts';

function bundle(reload: string, more = ''): string {
  return `apiVersion: evercert.io/v1
kind: TrustBundleManifest
metadata: { name: etcd-ca }
spec:
  issuer: etcd-ca
  file: /etc/kubernetes/pki/etcd/ca.crt
  reload: ${reload}
${more}`;
}

function resolved(text: string) {
  const { documents, faults } = parseDocuments(text, { file: 'm.yaml' });
  assert.deepEqual(faults, []);
  const [first] = resolveNode(
    clusterOf(),
    nodeOf(),
    documents.map(({ document }) => document as never),
  ).bundles;
  assert.ok(first);
  return first;
}

describe('a reload of a static pod', () => {
  it('is a path alone, with defaults, or says all', () => {
    const short = resolved(bundle('{ staticPod: /etc/kubernetes/manifests/etcd.yaml }'));
    assert.deepEqual(short.reload, {
      type: 'static-pod',
      manifestPath: '/etc/kubernetes/manifests/etcd.yaml',
      method: 'move',
      timeoutSeconds: 300,
    });
    const long = resolved(
      bundle(
        '{ staticPod: { manifest: "/m/{{ node.name }}.yaml", method: annotation, watch: "tls://{{ node.address }}:2379", timeout: 90s }, oneAtATime: true, component: etcd }',
        '  verify: "tls://{{ node.address }}:2379"\n',
      ),
    );
    assert.deepEqual(long.reload, {
      type: 'static-pod',
      manifestPath: `/m/${nodeOf().name}.yaml`,
      method: 'annotation',
      watch: `tls://${nodeOf().addresses[0]}:2379`,
      timeoutSeconds: 90,
      oneAtATime: true,
      component: 'etcd',
    } satisfies ReloadSpec);
    assert.equal(long.verify, `tls://${nodeOf().addresses[0]}:2379`);
  });

  it('and the check of a bundle reach the agent as they were resolved', () => {
    for (const reload of [
      '{ staticPod: { manifest: /m/a.yaml, watch: /run/a.pid }, oneAtATime: true }',
      '{ staticPod: { manifest: /m/a.yaml, method: annotation }, component: a }',
      '{ systemd: { unit: etcd.service, action: restart }, oneAtATime: true, component: etcd }',
      '{ signal: { pidFile: /run/a.pid } }',
      '{ command: [/bin/true] }',
    ]) {
      const before = resolved(bundle(reload, '  verify: tls://127.0.0.1:2379\n'));
      const { version, certificates, ...after } = desiredBundleFromProto(desiredBundleToProto(before, 3, [Buffer.from('x')]));
      assert.deepEqual([version, certificates], [3, [Buffer.from('x')]]);
      assert.deepEqual(after, before);
    }
  });

  it('in words that an agent does not know is refused, not left out', () => {
    const sent = desiredBundleToProto(resolved(bundle('{ staticPod: /m/a.yaml }')), 1, []);
    const kind = sent.reload?.kind;
    assert.equal(kind?.$case, 'staticPod');
    if (kind?.$case === 'staticPod') kind.value.method = 'magic';
    assert.throws(() => desiredBundleFromProto(sent), { code: 'InvalidArgument', message: /upgrade the agent/ });
  });

  for (const [what, reload, more, expected] of [
    ['a relative manifest', '{ staticPod: etcd.yaml }', '', /staticPod\.manifest: expected an absolute path/],
    ['a hidden manifest', '{ staticPod: /m/.etcd.yaml }', '', /staticPod\.manifest: kubelet does not look at hidden files/],
    ['another method', '{ staticPod: { manifest: /m/a.yaml, method: touch } }', '', /staticPod\.method: expected one of/],
    [
      'a watch that is no address',
      '{ staticPod: { manifest: /m/a.yaml, watch: "ftp://a:1" } }',
      '',
      /staticPod\.watch: expected the absolute path of a pid/,
    ],
    ['a watch without a port', '{ staticPod: { manifest: /m/a.yaml, watch: "tls://a" } }', '', /staticPod\.watch: expected/],
    ['a time out of bounds', '{ staticPod: { manifest: /m/a.yaml, timeout: 11m } }', '', /staticPod\.timeout/],
    ['two kinds', '{ staticPod: /m/a.yaml, command: [/bin/true] }', '', /expected exactly one of: systemd, signal, command, staticPod/],
    ['nothing but one node at a time', '{ oneAtATime: true }', '', /expected exactly one of/],
    ['a check that is no address', '{ command: [/bin/true] }', '  verify: https://a:1\n', /verify: expected tls:\/\/HOST:PORT/],
  ] as const) {
    it(`is refused with ${what}, with its place`, () => {
      const { faults } = parseDocuments(bundle(reload, more), { file: 'm.yaml' });
      assert.equal(faults.length, 1, JSON.stringify(faults));
      assert.match(`${faults[0]?.field}: ${faults[0]?.message}`, expected);
    });
  }
});
