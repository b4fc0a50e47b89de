import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { etcdArguments, etcdClientFiles, findEtcd } from '@evercert/local';

describe('an etcd member of a local cluster', () => {
  const members = ['cp-1', 'cp-2', 'cp-3'].map((name, index) => ({
    name,
    address: `127.0.0.${11 + index}`,
    clientPort: 20_001,
    peerPort: 20_002,
  }));

  it('verifies clients and peers against the etcd CA, which signs nothing for kubelets', () => {
    const [endpoint] = members;
    assert.ok(endpoint);
    const args = etcdArguments({ endpoint, members, pkiDir: '/p', dataDir: '/d', clusterToken: 't' });
    for (const expected of [
      '--cert-file=/p/etcd/server.crt',
      '--key-file=/p/etcd/server.key',
      '--trusted-ca-file=/p/etcd/ca.crt',
      '--client-cert-auth=true',
      '--peer-cert-file=/p/etcd/peer.crt',
      '--peer-trusted-ca-file=/p/etcd/ca.crt',
      '--peer-client-cert-auth=true',
      '--enable-grpc-gateway=false',
      '--listen-client-urls=https://127.0.0.11:20001',
      '--initial-cluster=cp-1=https://127.0.0.11:20002,cp-2=https://127.0.0.12:20002,cp-3=https://127.0.0.13:20002',
    ]) {
      assert.ok(args.includes(expected), expected);
    }
  });

  it('is verified by its clients against the Cluster CA in the founding layout, against the etcd CA in kubeadm’s', () => {
    assert.equal(etcdClientFiles('/p', 'founding').ca, '/p/ca.crt');
    assert.equal(etcdClientFiles('/p', 'kubeadm').ca, '/p/etcd/ca.crt');
  });

  it('runs the binary that $ETCD names, else the first in PATH', () => {
    const folder = mkdtempSync(join(tmpdir(), 'evercert-binary-'));
    try {
      const binary = join(folder, 'etcd');
      writeFileSync(binary, '#!/bin/sh\n');
      assert.equal(findEtcd({ PATH: folder }), undefined);
      chmodSync(binary, 0o755);
      assert.equal(findEtcd({ PATH: `/nowhere:${folder}` }), binary);
      assert.equal(findEtcd({ PATH: '/nowhere', ETCD: binary }), binary);
      assert.equal(findEtcd({ PATH: folder, ETCD: '/nowhere/etcd' }), undefined);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
