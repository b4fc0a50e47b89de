import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { connect as tlsConnect } from 'node:tls';
import { authorization, authorize } from '@evercert/coordinator';
import {
  AdminServiceClient,
  AdminServiceService,
  ChangeType,
  ClusterSpec,
  EnrollmentServiceService,
  ListCertificatesRequest,
  NodeServiceClient,
  NodeServiceService,
  RecoveryServiceService,
  type WatchResponse,
} from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { formatFault, toEvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fetchTrustAnchors, unary } from '@evercert/shared/grpc';
import { createCsr, generateKeyPair, parseCertificate, publicKeyPin, verifyChain } from '@evercert/shared/x509';
import {
  createToken,
  deadline,
  enroll,
  nodeClient,
  startTestCoordinator,
  type TestCoordinator,
  type TestNode,
} from '../support/coordinator.ts';
import { AgentStream, desiredState, issue, Role, withCode } from '../support/node-calls.ts';

const cluster = 'demo';

describe('the coordinator', () => {
  let coordinator: TestCoordinator;
  let cp1: TestNode;
  let cp2: TestNode;
  let worker: TestNode;

  const call = <Request, Response>(method: Parameters<typeof unary<Request, Response>>[0], request: Request): Promise<Response> =>
    unary(method.bind(coordinator.admin) as typeof method, request, deadline);
  const key = (): Promise<{ privateKey: KeyObject }> => generateKeyPair('ecdsa-p384');

  before(async () => {
    coordinator = await startTestCoordinator();
    const { admin } = coordinator;
    const spec = ClusterSpec.fromPartial({ nodeAddressRanges: ['10.1.0.0/16'] });
    await call(admin.createCluster, { name: cluster, spec });
    const token = await createToken(coordinator, cluster, { addresses: ['192.0.2.1'], nodeName: 'cp-1' });
    cp1 = await enroll(coordinator, { token, name: 'cp-1' });
    cp2 = await enroll(coordinator, {
      token: await createToken(coordinator, cluster, { addresses: ['192.0.2.2'], nodeName: 'cp-2' }),
      name: 'cp-2',
    });
    worker = await enroll(coordinator, {
      token: await createToken(coordinator, cluster, { role: Role.WORKER }),
      name: 'worker-1',
      addresses: ['10.1.0.7'],
    });
  });

  after(async () => {
    cp1.client.close();
    cp2.client.close();
    worker.client.close();
    await coordinator.dispose();
  });

  describe('authorization', () => {
    it('has a row for every RPC of the protocol and for nothing else of it', () => {
      const paths = [EnrollmentServiceService, NodeServiceService, RecoveryServiceService, AdminServiceService].flatMap((service) =>
        Object.values(service).map(({ path }) => path),
      );
      const rows = Object.keys(authorization).filter((path) => path.startsWith('/evercert.'));
      assert.deepEqual(rows.sort(), paths.sort());
    });

    it('refuses a method without a row to everybody', () => {
      const admin = { kind: 'admin', name: 'root', serial: '01', notAfterMs: Number.MAX_SAFE_INTEGER } as const;
      assert.throws(() => authorize('/evercert.v1.AdminService/Forgotten', admin), withCode('PermissionDenied'));
      assert.throws(() => authorize('toString', admin), withCode('PermissionDenied'));
    });

    it('refuses admin calls to nodes and node calls to admins and strangers', async () => {
      const asNode = new AdminServiceClient(
        coordinator.address,
        createClientCredentials({ trustAnchors: coordinator.anchors, chain: cp1.chain, privateKey: cp1.privateKey }),
      );
      await assert.rejects(unary(asNode.listClusters.bind(asNode), {}, deadline), withCode('PermissionDenied'));
      asNode.close();
      const stranger = new NodeServiceClient(coordinator.address, createClientCredentials({ trustAnchors: coordinator.anchors }));
      await assert.rejects(issue(stranger, 'apiserver', '', (await key()).privateKey), withCode('Unauthenticated'));
      const stream = new AgentStream(stranger);
      await assert.rejects(stream.desired(), withCode('Unauthenticated'));
      stranger.close();
    });
  });

  describe('joining', () => {
    it('is found by the pin of its control CA, and by no other', async () => {
      const pin = publicKeyPin(coordinator.anchors[0] as Buffer);
      const where = { host: '127.0.0.1', port: coordinator.port, timeoutMs: 2000, clock: systemClock };
      const anchors = await fetchTrustAnchors({ ...where, pins: [pin] });
      assert.deepEqual(anchors, coordinator.anchors);
      await assert.rejects(fetchTrustAnchors({ ...where, pins: [`sha256:${'0'.repeat(64)}`] }), withCode('PinMismatch'));
    });

    it('gives the identity its SPIFFE name and nothing else', () => {
      const info = parseCertificate(cp1.chain[0] as Buffer);
      assert.deepEqual(info.uris, ['spiffe://demo.evercert/node/cp-1']);
      assert.deepEqual([info.dnsNames, info.ipAddresses, info.organizations, info.isCa], [[], [], [], false]);
    });

    it('answers the same key again with the same certificate, although the token is used up', async () => {
      const token = await createToken(coordinator, cluster);
      const pair = await generateKeyPair('ecdsa-p256');
      const first = await enroll(coordinator, { token, name: 'cp-again', key: pair });
      const second = await enroll(coordinator, { token, name: 'cp-again', key: pair });
      assert.deepEqual(second.chain, first.chain);
      await assert.rejects(enroll(coordinator, { token, name: 'cp-other' }), withCode('TokenUsedUp'));
      first.client.close();
      second.client.close();
    });

    it('lets concurrent redemptions of a single-use token win once', async () => {
      const token = await createToken(coordinator, cluster);
      const results = await Promise.allSettled(['cp-a', 'cp-b', 'cp-c', 'cp-d'].map((name) => enroll(coordinator, { token, name })));
      const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      assert.equal(won.length, 1);
      for (const node of won) node.client.close();
    });

    it('refuses wrong, unknown, mismatched and malformed tokens, each with its code', async () => {
      const token = await createToken(coordinator, cluster, { nodeName: 'cp-9' });
      const wrongSecret = `${token.slice(0, 7)}${'0'.repeat(16)}`;
      await assert.rejects(enroll(coordinator, { token: wrongSecret, name: 'cp-9' }), withCode('InvalidToken'));
      await assert.rejects(enroll(coordinator, { token: 'zzzzzz.0123456789abcdef', name: 'cp-9' }), withCode('InvalidToken'));
      await assert.rejects(enroll(coordinator, { token: 'not a token', name: 'cp-9' }), withCode('InvalidToken'));
      await assert.rejects(enroll(coordinator, { token, name: 'cp-8' }), withCode('TokenMismatch'));
      await assert.rejects(enroll(coordinator, { token, name: 'cp-9', role: Role.WORKER }), withCode('TokenMismatch'));
      await assert.rejects(enroll(coordinator, { token, name: 'CP_9' }), withCode('InvalidArgument'));
    });

    it('lets a node that has joined join again only by a token that names it, and refuses its old identity from then on', async () => {
      const first = await enroll(coordinator, { token: await createToken(coordinator, cluster), name: 'cp-twice' });
      await assert.rejects(
        enroll(coordinator, { token: await createToken(coordinator, cluster), name: 'cp-twice' }),
        withCode('AlreadyExists'),
      );
      const second = await enroll(coordinator, {
        token: await createToken(coordinator, cluster, { nodeName: 'cp-twice' }),
        name: 'cp-twice',
      });
      await assert.rejects(issue(first.client, 'apiserver', '', (await key()).privateKey), withCode('Unauthenticated'));
      first.client.close();
      second.client.close();
    });
  });

  describe('issuing', () => {
    it('issues all that is declared for each role, each verifying against its bundle, with a fresh serial', async () => {
      const serials = new Set<string>();
      for (const { client, name } of [cp1, worker]) {
        const desired = await desiredState(client);
        assert.ok(desired.certificates.length >= (name === 'cp-1' ? 9 : 2), `${name} has ${desired.certificates.length}`);
        for (const spec of desired.certificates) {
          const { privateKey } = await key();
          const chain = await issue(client, spec.name, spec.specHash, privateKey);
          verifyChain({ chain, anchors: spec.trustAnchors, atMs: Date.now() });
          const info = parseCertificate(chain[0] as Buffer);
          assert.equal(info.commonName, spec.commonName);
          assert.deepEqual(info.ipAddresses, spec.ipAddresses);
          assert.deepEqual(info.dnsNames, spec.dnsNames);
          serials.add(info.serial);
          const { certificates } = await call(
            coordinator.admin.listCertificates,
            ListCertificatesRequest.fromPartial({ serial: info.serial }),
          );
          assert.deepEqual(certificates[0]?.usages, info.usages, 'shown otherwise than issued');
        }
      }
      assert.ok(serials.size >= 11);
    });

    it('answers a repeat with the same certificate, and refuses the key to any other certificate or node', async () => {
      const { certificates } = await desiredState(cp1.client);
      const apiserver = certificates.find(({ name }) => name === 'apiserver');
      const other = certificates.find(({ name }) => name === 'front-proxy-client');
      const { privateKey } = await key();
      const first = await issue(cp1.client, 'apiserver', apiserver?.specHash ?? '', privateKey);
      const repeats = await Promise.all([1, 2, 3].map(() => issue(cp1.client, 'apiserver', apiserver?.specHash ?? '', privateKey)));
      for (const repeat of repeats) assert.deepEqual(repeat, first);
      await assert.rejects(issue(cp1.client, 'front-proxy-client', other?.specHash ?? '', privateKey), withCode('KeyInUse'));
      const kubelet = (await desiredState(worker.client)).certificates[0];
      await assert.rejects(issue(worker.client, kubelet?.name ?? '', kubelet?.specHash ?? '', privateKey), withCode('KeyInUse'));
    });

    it('answers two simultaneous requests with one key with one certificate', async () => {
      const apiserver = (await desiredState(cp1.client)).certificates.find(({ name }) => name === 'apiserver');
      const { privateKey } = await key();
      const both = await Promise.all([1, 2, 3, 4].map(() => issue(cp1.client, 'apiserver', apiserver?.specHash ?? '', privateKey)));
      for (const chain of both) assert.deepEqual(chain, both[0]);
    });

    it('refuses what is not declared, what is declared otherwise by now, and other keys than declared', async () => {
      const apiserver = (await desiredState(cp1.client)).certificates.find(({ name }) => name === 'apiserver');
      const specHash = apiserver?.specHash ?? '';
      const { privateKey } = await key();
      await assert.rejects(issue(worker.client, 'apiserver', specHash, privateKey), withCode('NotFound'));
      await assert.rejects(issue(cp1.client, 'apiserver', 'old', privateKey), withCode('StaleSpec'));
      await assert.rejects(
        issue(cp1.client, 'apiserver', specHash, (await generateKeyPair('ecdsa-p256')).privateKey),
        withCode('InvalidCsr'),
      );
    });

    it('refuses bad requests: weak or unlisted keys, not DER, too large, a wrong signature', async () => {
      const apiserver = (await desiredState(cp1.client)).certificates.find(({ name }) => name === 'apiserver');
      const specHash = apiserver?.specHash ?? '';
      const send = (csr: Buffer): Promise<unknown> =>
        unary(cp1.client.issueCertificate.bind(cp1.client), { name: 'apiserver', csr, specHash, reason: '' }, deadline);
      const weak = execFileSync(
        'openssl',
        ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=x', '-outform', 'DER'],
        {
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      );
      await assert.rejects(send(weak), withCode('WeakKey'));
      await assert.rejects(send(Buffer.from('not DER')), withCode('InvalidCsr'));
      await assert.rejects(send(Buffer.alloc(65 * 1024, 0x30)), withCode('InvalidCsr'));
      const csr = await createCsr({ privateKey: (await key()).privateKey, commonName: 'x' });
      csr[csr.length - 3] = (csr[csr.length - 3] ?? 0) ^ 1;
      await assert.rejects(send(csr), withCode('InvalidCsr'));
    });

    it('hands the service-account key to control-plane nodes alone, the same to each', async () => {
      const get = (node: TestNode) => unary(node.client.getKeyPair.bind(node.client), { name: 'sa' }, deadline);
      const [one, two] = [await get(cp1), await get(cp2)];
      assert.match(one.privateKeyPem, /^-----BEGIN PRIVATE KEY-----/);
      assert.equal(one.privateKeyPem, two.privateKeyPem);
      await assert.rejects(get(worker), withCode('PermissionDenied'));
    });
  });

  describe('addresses', () => {
    it('accepts one from an allowed range once, and none that lies outside', async () => {
      const token = await createToken(coordinator, cluster, { role: Role.WORKER, maxUses: 0 });
      const thief = await enroll(coordinator, {
        token,
        name: 'worker-thief',
        addresses: ['10.1.0.7', '203.0.113.9', 'nonsense', '10.1.0.8'],
      });
      const { nodes } = await call(coordinator.admin.listNodes, { cluster, name: 'worker-thief' });
      assert.deepEqual(nodes[0]?.addresses, ['10.1.0.8']);
      thief.client.close();
    });

    it('refuses a token whose address another node holds', async () => {
      const token = await createToken(coordinator, cluster, { nodeName: 'cp-7', addresses: ['192.0.2.1'] });
      await assert.rejects(enroll(coordinator, { token, name: 'cp-7' }), withCode('AlreadyExists'));
    });
  });

  describe('streams', () => {
    it('push a new desired state when a manifest changes, and say which certificates that touches', async () => {
      const stream = new AgentStream(cp1.client);
      stream.hello();
      const before = await stream.desired();
      const yaml = `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: extra }
spec:
  selector: { nodes: [cp-1] }
  issuer: cluster-ca
  subject: { commonName: extra }
  usages: [digital signature, client auth]
  files: { certificate: /etc/kubernetes/pki/extra.crt, privateKey: /etc/kubernetes/pki/extra.key }
`;
      const apply = (dryRun: boolean) => call(coordinator.admin.apply, { cluster, documents: [{ source: 'extra.yaml', yaml }], dryRun });
      const dry = await apply(true);
      assert.deepEqual(dry.affected, [{ node: 'cp-1', certificate: 'extra', action: 'issue' }]);
      const real = await apply(false);
      assert.equal(real.objects[0]?.action, 'created');
      const after = await stream.desired(before.revision);
      assert.ok(after.certificates.some(({ name }) => name === 'extra'));
      assert.equal((await apply(false)).objects[0]?.action, 'unchanged');
      stream.close();
    });

    it('apply all documents or none, and blame the right one', async () => {
      const good =
        'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: cp-new }\nspec: { role: control-plane, addresses: [192.0.2.77] }\n';
      const bad = 'apiVersion: evercert.io/v1\nkind: CertificateManifest\nmetadata: { name: x }\nspec: { isuer: cluster-ca }\n';
      await assert.rejects(
        call(coordinator.admin.apply, { cluster, documents: [{ source: 'a.yaml', yaml: `${good}---\n${bad}` }], dryRun: false }),
        (error: Error) => {
          withCode('InvalidManifest')(error);
          return JSON.stringify(error).includes('a.yaml:') || JSON.stringify((error as { faults?: unknown }).faults).includes('a.yaml:9');
        },
      );
      await assert.rejects(call(coordinator.admin.listNodes, { cluster, name: 'cp-new' }), withCode('NotFound'));
    });

    it('name file and line of what does not fit the cluster, once however many nodes show it', async () => {
      const manifest = (name: string, file: string) =>
        `apiVersion: evercert.io/v1\nkind: CertificateManifest\nmetadata: { name: ${name} }\nspec:\n  issuer: cluster-ca\n  subject: { commonName: x }\n  usages: [digital signature, client auth]\n  files: { certificate: "${file}", privateKey: /etc/kubernetes/pki/${name}.key }\n`;
      const faultsOf = async (yaml: string): Promise<string[]> => {
        try {
          await call(coordinator.admin.apply, { cluster, documents: [{ source: 'extra.yaml', yaml }], dryRun: true });
        } catch (error) {
          return toEvercertError(error).faults.map(formatFault);
        }
        return assert.fail('it was applied');
      };
      for (const [name, file, why] of [
        ['outside', '/root/x.crt', 'lies outside the folders'],
        ['twice', '/etc/kubernetes/pki/apiserver.crt', 'is declared twice'],
        ['unlabelled', '/etc/kubernetes/pki/{{ node.labels.zone }}.crt', 'has no label "zone"'],
      ] as const) {
        const faults = await faultsOf(manifest(name, file));
        assert.ok(
          faults.every((fault) => fault.startsWith('spec.files.certificate.path: extra.yaml:8:') && fault.includes(why)),
          faults.join('\n'),
        );
        assert.equal(new Set(faults).size, faults.length);
        if (name !== 'unlabelled') assert.equal(faults.length, 1, faults.join('\n'));
      }
    });

    it('make no cluster whose policy no Cluster document could have', async () => {
      for (const spec of [
        { leafLifetimeSeconds: 1 },
        { serviceCidr: 'foo' },
        { nodeAddressRanges: ['10.0.0.0/16', 'zzz'] },
        { controlPlaneEndpoint: 'a:b:c' },
        { allowedPaths: ['../x'] },
        { dnsDomain: 'a..b' },
      ]) {
        const create = call(coordinator.admin.createCluster, { name: 'odd', spec: ClusterSpec.fromPartial(spec) });
        await assert.rejects(create, withCode('InvalidManifest'), JSON.stringify(spec));
      }
      const { clusters } = await call(coordinator.admin.listClusters, {});
      assert.ok(clusters.every(({ name }) => name !== 'odd'));
    });

    it('refuse an identity on an open connection from the moment that its node is deleted', async () => {
      const node = await enroll(coordinator, {
        token: await createToken(coordinator, cluster, { role: Role.WORKER }),
        name: 'worker-doomed',
      });
      const stream = new AgentStream(node.client);
      stream.hello();
      await stream.desired();
      await call(coordinator.admin.deleteNode, { cluster, name: 'worker-doomed' });
      await assert.rejects(issue(node.client, 'kubelet-client', '', (await key()).privateKey), withCode('Unauthenticated'));
      const ended = await stream.until(() => stream.ended);
      assert.ok(ended !== 'end' && ended.code === 'Unauthenticated', String(ended));
      node.client.close();
    });

    it('ask for renewal of what was issued before, also of a node that is away', async () => {
      const { delivered, certificates } = await call(coordinator.admin.renewCertificates, {
        cluster,
        node: 'cp-2',
        certificates: ['apiserver'],
      });
      assert.deepEqual([delivered, certificates], [false, ['apiserver']]);
      const desired = await desiredState(cp2.client);
      const marked = desired.certificates.filter(({ renewIfIssuedBefore }) => renewIfIssuedBefore).map(({ name }) => name);
      assert.deepEqual(marked, ['apiserver']);
      await assert.rejects(
        call(coordinator.admin.renewCertificates, { cluster, node: 'cp-1', certificates: ['nope'] }),
        withCode('NotFound'),
      );
    });
  });

  it('lets an admin watch: all that is there, then each change once', async () => {
    const watch = coordinator.admin.watch({ cluster, resources: ['certificates', 'events', 'nodes'] });
    const seen: { type: number; what: string }[] = [];
    let wake = (): void => {};
    watch.on('data', ({ type, object }: WatchResponse) => {
      const what =
        object?.$case === 'certificate' ? object.value.serial : object?.$case === 'event' ? object.value.id : (object?.$case ?? '');
      seen.push({ type, what });
      wake();
    });
    watch.on('error', () => {});
    const until = async (condition: () => boolean): Promise<void> => {
      while (!condition())
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    };
    await until(() => seen.some(({ type }) => type === ChangeType.SYNCED));
    const apiserver = (await desiredState(cp1.client)).certificates.find(({ name }) => name === 'apiserver');
    const [leaf] = await issue(cp1.client, 'apiserver', apiserver?.specHash ?? '', (await key()).privateKey);
    const { serial } = parseCertificate(leaf as Buffer);
    await until(() => seen.some(({ what }) => what === serial));
    const serials = seen.map(({ what }) => what).filter((what) => /^[0-9a-f]{32}$/.test(what));
    assert.equal(new Set(serials).size, serials.length);
    assert.equal(seen.filter(({ what }) => what === serial).length, 1);
    watch.cancel();
  });

  it('does not resume TLS sessions', async () => {
    const dial = (session?: Buffer) =>
      new Promise<{ session: Buffer | undefined; reused: boolean }>((resolve, reject) => {
        const socket = tlsConnect({
          host: '127.0.0.1',
          port: coordinator.port,
          ca: [],
          rejectUnauthorized: false,
          ALPNProtocols: ['h2'],
          ...(session && { session }),
        });
        let ticket: Buffer | undefined;
        socket.on('session', (s) => {
          ticket = s;
        });
        socket.once('error', reject);
        socket.once('secureConnect', () =>
          setTimeout(() => {
            resolve({ session: ticket ?? socket.getSession(), reused: socket.isSessionReused() });
            socket.destroy();
          }, 50),
        );
      });
    const first = await dial();
    const second = await dial(first.session);
    assert.equal(second.reused, false);
  });

  // Last: the port changes.
  describe('a restart', () => {
    it('keeps everything', async () => {
      const before = await call(coordinator.admin.listCertificates, {
        cluster,
        node: '',
        name: '',
        serial: '',
        includeSuperseded: true,
        pageSize: 1000,
        pageToken: '',
      });
      const watch = coordinator.admin.watch({ cluster, resources: ['nodes'] });
      watch.on('data', () => {});
      const ended = once(watch, 'error');
      await once(watch, 'data');
      coordinator = await coordinator.restart();
      const [error] = await ended;
      assert.match(String(error), /the coordinator stops/, 'whoever watches is told, and does not hold up the end');
      const after = await call(coordinator.admin.listCertificates, {
        cluster,
        node: '',
        name: '',
        serial: '',
        includeSuperseded: true,
        pageSize: 1000,
        pageToken: '',
      });
      assert.deepEqual(
        after.certificates.map(({ serial }) => serial),
        before.certificates.map(({ serial }) => serial),
      );
      const reopened = nodeClient(coordinator, cp1.chain, cp1.privateKey);
      assert.ok((await desiredState(reopened)).certificates.length > 0);
      reopened.close();
    });
  });
});

describe("the coordinator's own certificate", () => {
  it('renews by itself without dropping an open stream', async () => {
    const coordinator = await startTestCoordinator({ config: { serverCertificateLifetime: '3s' } });
    try {
      await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name: cluster, spec: undefined }, deadline);
      const node = await enroll(coordinator, { token: await createToken(coordinator, cluster, { role: Role.WORKER }), name: 'worker-1' });
      const stream = new AgentStream(node.client);
      stream.hello();
      await stream.desired();
      const serial = () =>
        new Promise<string>((resolve, reject) => {
          const socket = tlsConnect({ host: '127.0.0.1', port: coordinator.port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
          socket.once('error', reject);
          socket.once('secureConnect', () => {
            resolve(socket.getPeerCertificate().serialNumber);
            socket.destroy();
          });
        });
      const first = await serial();
      let next = first;
      for (let i = 0; i < 60 && next === first; i++) {
        await systemClock.sleep(100);
        next = await serial();
      }
      assert.notEqual(next, first);
      assert.equal(stream.ended, undefined);
      stream.send({ $case: 'heartbeat', value: { time: undefined } });
      stream.close();
      node.client.close();
    } finally {
      await coordinator.dispose();
    }
  });
});
