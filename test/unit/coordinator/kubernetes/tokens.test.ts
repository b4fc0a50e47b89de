import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import {
  BridgeStatus,
  detachedJws,
  endOf,
  kubeconfigOf,
  ownTokenId,
  readInfo,
  type Secret,
  sameData,
  secretOf,
  serverOf,
  signedData,
  signingTokenOf,
} from '@evercert/coordinator/kubernetes';
import { FakeClock } from '@evercert/shared/clock';
import { createRootCertificate, generateKeyPair, newSerial, signerFor } from '@evercert/shared/x509';
import fc from 'fast-check';
import { parse } from 'yaml';

type TokenRecord = NonNullable<Parameters<typeof endOf>[0]>;

const nowMs = Date.parse('2026-06-01T12:00:00.750Z');
const record: TokenRecord = {
  id: 'abcdef',
  secretHash: '',
  salt: '',
  cluster: 'demo',
  role: 'worker',
  nodeName: '',
  createdAtMs: nowMs,
  expiresAtMs: nowMs + 3_600_000,
  maxUses: 2,
  uses: 0,
  description: '',
  labels: {},
  addresses: [],
  dnsNames: [],
  kubernetes: { groups: ['system:bootstrappers:a', 'system:bootstrappers:b'] },
};
const secret = '0123456789abcdef';

/** As the API server hands it out. */
function stored(object: object, more: Record<string, string> = {}): Secret {
  const { stringData, metadata, ...rest } = object as { stringData: Record<string, string>; metadata: Secret['metadata'] };
  const data = Object.fromEntries(
    Object.entries({ ...stringData, ...more }).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
  );
  return { ...rest, metadata: { ...metadata, uid: 'u', resourceVersion: '1', creationTimestamp: '' }, data };
}

describe('the signature of cluster-info', () => {
  it('is what kubeadm and kube-controller-manager make', () => {
    assert.equal(
      detachedJws({ id: 'abcdef', secret }, 'apiVersion: v1\nkind: Config\n'),
      'eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..vH_kT4yiol-nrAWgjfCYqvum5wsKETXe0S7OOp1VgnE',
    );
  });

  it('holds for any text, over header and payload', () => {
    fc.assert(
      fc.property(fc.string(), (payload) => {
        const [header, middle, signature] = detachedJws({ id: 'abcdef', secret }, payload).split('.');
        assert.equal(middle, '');
        assert.deepEqual(JSON.parse(Buffer.from(header ?? '', 'base64url').toString()), { alg: 'HS256', kid: 'abcdef' });
        const signed = `${header}.${Buffer.from(payload).toString('base64url')}`;
        assert.equal(signature, createHmac('sha256', secret).update(signed).digest('base64url'));
      }),
    );
  });
});

describe("a bootstrap token's Secret", () => {
  it('is as Kubernetes reads it', () => {
    assert.deepEqual(secretOf(record, secret), {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'bootstrap.kubernetes.io/token',
      metadata: {
        name: 'bootstrap-token-abcdef',
        namespace: 'kube-system',
        labels: { 'app.kubernetes.io/managed-by': 'evercert', 'evercert.io/cluster': 'demo' },
      },
      stringData: {
        'token-id': 'abcdef',
        'token-secret': secret,
        expiration: '2026-06-01T13:00:00Z',
        'usage-bootstrap-authentication': 'true',
        'usage-bootstrap-signing': 'true',
        'auth-extra-groups': 'system:bootstrappers:a,system:bootstrappers:b',
        description: 'Evercert, for worker nodes of cluster demo',
      },
    });
    const plain = secretOf({ ...record, kubernetes: { groups: [] }, description: 'why' }, secret) as { stringData: Record<string, string> };
    assert.equal('auth-extra-groups' in plain.stringData, false);
    assert.equal(plain.stringData['description'], 'why');
  });

  it('is known as our own by its labels alone', () => {
    const own = stored(secretOf(record, secret));
    assert.equal(ownTokenId(own, 'demo'), 'abcdef');
    assert.equal(ownTokenId(own, 'other'), undefined);
    assert.equal(ownTokenId({ ...own, metadata: { ...own.metadata, labels: {} } }, 'demo'), undefined);
    assert.equal(ownTokenId({ ...own, type: 'Opaque' }, 'demo'), undefined);
  });

  const signing: [string, Record<string, string>, boolean][] = [
    ['as we write it', {}, true],
    ['without an end', { expiration: '' }, true],
    ['that ends in a minute, in another zone', { expiration: '2026-06-01T15:01:00+03:00' }, true],
    ['that has expired', { expiration: '2026-06-01T12:00:00Z' }, false],
    ['with an end that is none', { expiration: 'tomorrow' }, false],
    ['that is not for signing', { 'usage-bootstrap-signing': 'false' }, false],
    ['whose id is not that of its name', { 'token-id': 'fedcba' }, false],
    ['without a secret', { 'token-secret': '' }, false],
    ['with a secret of another form', { 'token-secret': '0123456789ABCDEF' }, false],
  ];
  for (const [what, more, signs] of signing) {
    it(`${what} ${signs ? 'signs' : 'signs nothing'}`, () => {
      assert.equal(signingTokenOf(stored(secretOf(record, secret), more), nowMs) !== undefined, signs);
    });
  }

  it('that is of another type, or going, signs nothing', () => {
    const object = stored(secretOf(record, secret));
    assert.equal(signingTokenOf({ ...object, type: 'Opaque' }, nowMs), undefined);
    assert.equal(signingTokenOf({ ...object, metadata: { ...object.metadata, deletionTimestamp: 'now' } }, nowMs), undefined);
  });

  const ends: [string, TokenRecord | undefined, RegExp | undefined][] = [
    ['of a token that can be used', record, undefined],
    ['of an unlimited one', { ...record, maxUses: 0, uses: 1000 }, undefined],
    ['of none', undefined, /deleted/],
    ['of a token of another cluster', { ...record, cluster: 'other' }, /deleted/],
    ['of an expired one', { ...record, expiresAtMs: nowMs }, /expired/],
    ['of one that is used up', { ...record, uses: 2 }, /used up/],
  ];
  for (const [what, token, end] of ends) {
    it(`${what} ${end ? 'goes' : 'stays'}`, () => {
      const why = endOf(token, 'demo', nowMs);
      if (end) assert.match(why ?? '', end);
      else assert.equal(why, undefined);
    });
  }
});

describe('cluster-info', () => {
  let first: Buffer;
  let second: Buffer;
  const tokens = [{ id: 'abcdef', secret, expiresAtMs: undefined }];
  const server = 'https://10.0.0.1:6443';

  before(async () => {
    const root = async (): Promise<Buffer> => {
      const { privateKey } = await generateKeyPair('ecdsa-p256');
      const times = { notBefore: new Date(0), notAfter: new Date(2 ** 41) };
      return createRootCertificate({ commonName: 'ca', signer: signerFor(privateKey), serial: newSerial(), ...times });
    };
    [first, second] = [await root(), await root()];
  });

  it('names the API server as the cluster does', () => {
    assert.equal(serverOf('10.0.0.1'), 'https://10.0.0.1:6443');
    assert.equal(serverOf('api.example:443'), 'https://api.example:443');
    assert.equal(serverOf('fd00::1'), 'https://[fd00::1]:6443');
    assert.equal(serverOf(''), undefined);
  });

  it('is a kubeconfig with one cluster, without a name, and nobody in it', () => {
    const config = parse(kubeconfigOf({ server, authorities: [first, second] }));
    assert.deepEqual([config.kind, config.clusters.length, config.clusters[0].name, config.users], ['Config', 1, '', null]);
    assert.deepEqual(readInfo({ kubeconfig: kubeconfigOf({ server, authorities: [first, second] }) }), {
      server,
      authorities: [first, second],
    });
  });

  it('has a signature of each token and of no other, and keeps what else is in it', () => {
    const present = { 'jws-kubeconfig-gone00': 'x', other: 'kept' };
    const data = signedData(present, { server, authorities: [first] }, tokens);
    assert.deepEqual(Object.keys(data).sort(), ['jws-kubeconfig-abcdef', 'kubeconfig', 'other']);
    assert.equal(data['jws-kubeconfig-abcdef'], detachedJws({ id: 'abcdef', secret }, data['kubeconfig'] ?? ''));
    assert.equal(sameData(data, signedData(data, { server, authorities: [first] }, tokens)), true);
    assert.equal(sameData(present, data), false);
    assert.equal(sameData(undefined, data), false);
  });

  it('leaves a kubeconfig that says the same as it is written', () => {
    const text = `# by hand\n${kubeconfigOf({ server, authorities: [second, first] })}`;
    assert.equal(signedData({ kubeconfig: text }, { server, authorities: [first, second] }, [])['kubeconfig'], text);
  });

  it('is written anew when server or CAs change, or nobody can read it', () => {
    const info = { server, authorities: [first] };
    for (const kubeconfig of [
      kubeconfigOf({ server: 'https://10.0.0.2:6443', authorities: [first] }),
      kubeconfigOf({ server, authorities: [first, second] }),
      'clusters: [',
      'clusters: 3',
      'null',
      '',
    ])
      assert.deepEqual(readInfo(signedData({ kubeconfig }, info, [])), info, kubeconfig);
  });
});

describe('whether machines that join are told of the CAs as they are', () => {
  const unavailable = { code: 'Unavailable', message: 'it is away' } as const;
  const standing = (
    published: string[] | undefined,
    bundle: string[],
    tell: (status: BridgeStatus) => void = (status) => status.well('cluster-info'),
  ) => {
    const status = new BridgeStatus(new FakeClock());
    tell(status);
    status.publishes(published);
    return status.published(bundle);
  };

  it('is so when cluster-info holds exactly those, in whatever order', () => {
    assert.deepEqual(standing(['b', 'a'], ['a', 'b']), { current: true, message: '' });
  });

  for (const [what, published] of [
    ['nothing was seen yet', undefined],
    ['one is missing', ['a']],
    ['an old one is there still', ['a', 'b', 'c']],
    ['it holds others', ['a', 'c']],
  ] as const) {
    it(`is not so while ${what}`, () => assert.equal(standing(published && [...published], ['a', 'b'])?.current, false));
  }

  it('is nothing to wait for where the API server cannot be reached: nobody reads it there', () => {
    assert.equal(
      standing(['a'], ['b'], (status) => status.failing('cluster-info', unavailable)),
      undefined,
    );
    assert.equal(
      standing(undefined, ['b'], () => {}),
      undefined,
    );
  });

  it('tells what keeps it from being written', () => {
    const refused = { code: 'PermissionDenied', message: 'it may not write there' } as const;
    assert.match(standing(['a'], ['b'], (status) => status.failing('cluster-info', refused))?.message ?? '', /it may not write there/);
  });
});
