import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ApplyResponse, type Certificate, ClusterSpec, type DesiredCertificate, type RevocationMatch } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { createCsr, generateKeyPair, parseCertificate } from '@evercert/shared/x509';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator, type TestNode } from '../support/coordinator.ts';
import { AgentStream, desiredState, issue, Role, withCode } from '../support/node-calls.ts';

const cluster = 'demo';
const sample = join(import.meta.dirname, '../fixtures/founding-revocation.yaml');

/** One object with entries given as YAML flow mappings. */
function revocation(name: string, ...entries: string[]): string {
  const lines = entries.map((entry) => `  - ${entry}\n`).join('');
  return `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: ${name} }\nspec:\n  revocations:\n${lines}`;
}

function timeIs(ms: number): Promise<void> {
  return new Promise((resolve) => void systemClock.at(ms, resolve));
}

describe('revocations in a coordinator', () => {
  let coordinator: TestCoordinator;
  let cp1: TestNode;
  let worker: TestNode;

  const call = <Request, Response>(method: Parameters<typeof unary<Request, Response>>[0], request: Request): Promise<Response> =>
    unary(method.bind(coordinator.admin) as typeof method, request, deadline);
  const apply = (yaml: string, dryRun = false): Promise<ApplyResponse> =>
    call(coordinator.admin.apply, { cluster, documents: [{ source: 'r.yaml', yaml }], dryRun });
  const remove = (name: string, dryRun = false) => call(coordinator.admin.deleteRevocation, { cluster, name, dryRun });
  const declared = async (node: TestNode, name: string): Promise<DesiredCertificate> => {
    const found = (await desiredState(node.client)).certificates.find((certificate) => certificate.name === name);
    assert.ok(found, `${name} is declared`);
    return found;
  };
  /** Issues with a new key, and returns the serial. */
  const issueAnew = async (node: TestNode, name: string): Promise<string> => {
    const { specHash } = await declared(node, name);
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const [leaf] = await issue(node.client, name, specHash, privateKey);
    return parseCertificate(leaf as Buffer).serial;
  };
  const listed = async (serial: string): Promise<Certificate | undefined> => {
    const filter = { cluster, node: '', name: '', serial, includeSuperseded: true, pageSize: 1000, pageToken: '' };
    return (await call(coordinator.admin.listCertificates, filter)).certificates[0];
  };
  const live = (matches: RevocationMatch[]): string[] =>
    matches.filter(({ future }) => !future).map(({ node, certificate, serial }) => `${node}/${certificate} ${serial}`);

  before(async () => {
    coordinator = await startTestCoordinator();
    const spec = ClusterSpec.fromPartial({ controlPlaneEndpoint: 'api.example.com' });
    await call(coordinator.admin.createCluster, { name: cluster, spec });
    cp1 = await enroll(coordinator, {
      token: await createToken(coordinator, cluster, { addresses: ['192.0.2.1'], nodeName: 'cp-1' }),
      name: 'cp-1',
    });
    worker = await enroll(coordinator, { token: await createToken(coordinator, cluster, { role: Role.WORKER }), name: 'worker-1' });
  });

  afterEach(async () => {
    const { revocations } = await call(coordinator.admin.listRevocations, { cluster, name: '' });
    for (const { name } of revocations) await remove(name);
  });

  after(async () => {
    cp1.client.close();
    worker.client.close();
    await coordinator.dispose();
  });

  it("take the founding document's sample as it stands, and a dry run says what it would match, and why", async () => {
    const apiserver = await issueAnew(cp1, 'apiserver');
    const kubelet = await issueAnew(worker, 'kubelet-client');
    const yaml = await readFile(sample, 'utf8');
    const dry = await apply(yaml, true);
    assert.deepEqual(
      dry.objects.map(({ kind, name, action }) => [kind, name, action]),
      [['RenewRevocation', 'my-renew-revocation', 'created']],
    );
    const reasons = dry.revocationMatches.map(({ node, certificate, serial, future, by }) =>
      [node, certificate, future ? 'future' : serial, (by?.entry ?? -1) + 1, by?.kind, by?.value].join(' '),
    );
    assert.ok(reasons.includes(`cp-1 apiserver ${apiserver} 3 DNS kubernetes.default.svc`), reasons.join('\n'));
    assert.ok(reasons.includes(`cp-1 apiserver ${apiserver} 4 DNS .cluster.local`));
    assert.ok(reasons.includes('cp-1 apiserver future 4 DNS .cluster.local'));
    assert.ok(reasons.includes(`worker-1 kubelet-client ${kubelet} 2 Group system:nodes`));
    assert.ok(reasons.includes('worker-1 kubelet-client future 2 Group system:nodes'));
    assert.deepEqual((await call(coordinator.admin.listRevocations, { cluster, name: '' })).revocations, []);

    await apply(yaml);
    const [object] = (await call(coordinator.admin.listRevocations, { cluster, name: 'my-renew-revocation' })).revocations;
    assert.equal(object?.entries.length, 5);
    assert.deepEqual(
      [object.namespace, object.apiVersion, object.source],
      ['kube-system', 'certificates.microsoft.com/v1', 'evercert apply'],
    );
    assert.equal(object.yaml, yaml);
    assert.ok((object.entries[2]?.matches ?? 0) >= 1);
    assert.equal(object.entries[0]?.matches, 0);
    assert.equal((await apply(yaml)).objects[0]?.action, 'unchanged');
  });

  it('refuse a renewal with an error that names object and entry, record and count it, and let it pass once the object is deleted', async () => {
    const serial = await issueAnew(cp1, 'apiserver');
    const yaml = revocation(
      'incident',
      `{ kind: serialnumber, serialNumber: ${serial.toUpperCase()}, description: stolen, reason: keyCompromise }`,
    );
    const { revocationMatches } = await apply(yaml);
    assert.deepEqual(live(revocationMatches), [`cp-1/apiserver ${serial}`]);
    await assert.rejects(issueAnew(cp1, 'apiserver'), (error: unknown) => {
      assert.ok(error instanceof EvercertError);
      assert.equal(error.code, 'Revoked');
      assert.deepEqual(error.metadata, { object: 'incident', entry: '0', kind: 'SerialNumber', value: serial });
      assert.match(error.message, /entry 1 \(SerialNumber \w+\) of RenewRevocation incident/);
      assert.match(error.message, /evercert repair demo/);
      return true;
    });
    const events = {
      cluster,
      node: 'cp-1',
      certificate: 'apiserver',
      reason: 'RenewalRefused',
      pageSize: 10,
      pageToken: '',
      renewalLog: false,
    };
    assert.equal((await call(coordinator.admin.listEvents, events)).events[0]?.errorCode, 'Revoked');
    const shown = await listed(serial);
    assert.deepEqual(
      shown?.revokedBy.map(({ object, entry, kind, description }) => [object, entry, kind, description]),
      [['incident', 0, 'SerialNumber', 'stolen']],
    );
    // Others of the same node are untouched.
    await issueAnew(cp1, 'front-proxy-client');

    assert.deepEqual(live((await remove('incident', true)).released), [`cp-1/apiserver ${serial}`]);
    assert.deepEqual(live((await remove('incident')).released), [`cp-1/apiserver ${serial}`]);
    assert.notEqual(await issueAnew(cp1, 'apiserver'), serial);
    await assert.rejects(remove('incident'), withCode('NotFound'));
  });

  it('refuse a first issue without notBefore, and until a notBefore that lies ahead', async () => {
    await apply(revocation('wide', '{ kind: Group, group: System:Nodes }'));
    await assert.rejects(issueAnew(worker, 'kubelet-client'), withCode('Revoked'));
    const ahead = new Date(systemClock.nowMs() + 1500).toISOString();
    assert.equal(
      (await apply(revocation('wide', `{ kind: Group, group: system:nodes, notBefore: "${ahead}" }`))).objects[0]?.action,
      'configured',
    );
    await assert.rejects(issueAnew(worker, 'kubelet-client'), (error: unknown) => {
      assert.ok(error instanceof EvercertError && error.code === 'Revoked');
      return error.message.includes('nothing is issued before that time');
    });
    const [wide] = (await call(coordinator.admin.listRevocations, { cluster, name: 'wide' })).revocations;
    assert.equal(wide?.refusals, 2);
  });

  it('with a notBefore that has passed, refuse the certificate in use, not a new one of a node that has none', async () => {
    await issueAnew(worker, 'kubelet-client');
    const justAfter = systemClock.nowMs() + 1;
    await apply(revocation('past', `{ kind: Group, group: system:nodes, notBefore: "${new Date(justAfter).toISOString()}" }`));
    await timeIs(justAfter);
    await assert.rejects(issueAnew(worker, 'kubelet-client'), withCode('Revoked'));
    const fresh = await enroll(coordinator, {
      token: await createToken(coordinator, cluster, { role: Role.WORKER }),
      name: 'worker-fresh',
    });
    await issueAnew(fresh, 'kubelet-client');
    fresh.client.close();
  });

  it('with a notBefore that has passed, let a repaired node have a new certificate, which they do not match', async () => {
    // A node of its own: its repair window stays open.
    const token = await createToken(coordinator, cluster, { addresses: ['192.0.2.5'], nodeName: 'cp-5' });
    const cp5 = await enroll(coordinator, { token, name: 'cp-5' });
    const old = await issueAnew(cp5, 'apiserver');
    const justAfter = systemClock.nowMs() + 1;
    await apply(revocation('past', `{ kind: DNS, dns: .cluster.local, notBefore: "${new Date(justAfter).toISOString()}" }`));
    await timeIs(justAfter);
    await assert.rejects(issueAnew(cp5, 'apiserver'), withCode('Revoked'));
    const repair = coordinator.admin.repair({ cluster, nodes: ['cp-5'], dryRun: false, window: { seconds: 60, nanos: 0 } });
    repair.on('error', () => {});
    await new Promise<void>((resolve) => {
      repair.on('data', ({ event }) => {
        if (event?.$case === 'progress' && event.value.step === 'WindowOpened') resolve();
      });
    });
    assert.equal((await declared(cp5, 'apiserver')).revoked, undefined);
    const fresh = await issueAnew(cp5, 'apiserver');
    repair.cancel();
    cp5.client.close();
    assert.deepEqual(
      (await listed(old))?.revokedBy.map(({ object }) => object),
      ['past'],
    );
    assert.deepEqual((await listed(fresh))?.revokedBy, []);
  });

  it('take along what succeeded a stolen certificate, unless told not to', async () => {
    const stolen = await issueAnew(cp1, 'front-proxy-client');
    const renewed = await issueAnew(cp1, 'front-proxy-client');
    const { revocationMatches } = await apply(revocation('chain', `{ kind: serialnumber, serialNumber: "${stolen}" }`));
    assert.deepEqual(live(revocationMatches).sort(), [`cp-1/front-proxy-client ${stolen}`, `cp-1/front-proxy-client ${renewed}`].sort());
    await assert.rejects(issueAnew(cp1, 'front-proxy-client'), withCode('Revoked'));
    const alone = revocation('chain', `{ kind: serialnumber, serialNumber: "${stolen}", includeSuccessors: false }`);
    assert.deepEqual(live((await apply(alone)).revocationMatches), [`cp-1/front-proxy-client ${stolen}`]);
    await issueAnew(cp1, 'front-proxy-client');
  });

  it('tell an agent without being asked, and at once when they are lifted', async () => {
    await issueAnew(cp1, 'apiserver');
    const stream = new AgentStream(cp1.client);
    stream.hello();
    const before = await stream.desired();
    assert.ok(before.certificates.every(({ revoked }) => revoked === undefined));
    await apply(revocation('told', '{ kind: dns, dns: .svc.cluster.local., description: because }'));
    const during = await stream.desired(before.revision);
    const marked = during.certificates.filter(({ revoked }) => revoked);
    assert.deepEqual(
      marked.map(({ name, revoked }) => [name, revoked?.object, revoked?.entry, revoked?.value, revoked?.description]),
      [['apiserver', 'told', 0, '.svc.cluster.local', 'because']].filter(([name]) => marked.some((one) => one.name === name)),
    );
    assert.ok(marked.some(({ name }) => name === 'apiserver'));
    await remove('told');
    const after = await stream.desired(during.revision);
    assert.ok(after.certificates.every(({ revoked }) => revoked === undefined));
    stream.close();
  });

  it('end the streams of a revoked identity at once and refuse all its calls, until a new token brings another', async () => {
    const oldToken = await createToken(coordinator, cluster, { nodeName: 'cp-9', maxUses: 5 });
    const node = await enroll(coordinator, { token: oldToken, name: 'cp-9' });
    const { serial } = parseCertificate(node.chain[0] as Buffer);
    const stream = new AgentStream(node.client);
    stream.hello();
    await stream.desired();
    await apply(revocation('identity', `{ kind: serialnumber, serialNumber: "${serial}" }`));
    const ended = await stream.until(() => stream.ended);
    assert.ok(ended !== 'end' && ended.code === 'Revoked', String(ended));
    await assert.rejects(desiredState(node.client), withCode('Revoked'));
    const csr = await createCsr({ privateKey: (await generateKeyPair('ecdsa-p256')).privateKey, commonName: 'x' });
    await assert.rejects(unary(node.client.renewIdentity.bind(node.client), { csr }, deadline), withCode('Revoked'));
    await assert.rejects(enroll(coordinator, { token: oldToken, name: 'cp-9' }), withCode('Revoked'));
    const again = await enroll(coordinator, { token: await createToken(coordinator, cluster, { nodeName: 'cp-9' }), name: 'cp-9' });
    await desiredState(again.client);
    node.client.close();
    again.client.close();
  });

  it('are told by a watch, with what they match', async () => {
    await issueAnew(cp1, 'apiserver');
    const watch = coordinator.admin.watch({ cluster, resources: ['revocations'] });
    const seen: string[] = [];
    let wake = (): void => {};
    watch.on('data', ({ type, object }) => {
      seen.push(
        object?.$case === 'revocation' ? `${type} ${object.value.name} ${(object.value.entries[0]?.matches ?? 0) > 0}` : String(type),
      );
      wake();
    });
    watch.on('error', () => {});
    const until = async (count: number): Promise<void> => {
      while (seen.length < count)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    };
    await until(1);
    await apply(revocation('seen', '{ kind: IP, ip: "::ffff:192.0.2.1" }'));
    await until(2);
    await apply(revocation('seen', '{ kind: IP, ip: 192.0.2.99 }'));
    await until(3);
    await remove('seen');
    await until(4);
    assert.deepEqual(seen, ['4', '1 seen true', '2 seen false', '3 seen false']);
    watch.cancel();
  });

  it('are all or nothing with other documents, and refused with their line', async () => {
    const bad = revocation('bad', '{ kind: dnss, dns: a }');
    const good = revocation('good', '{ kind: dns, dns: a }');
    await assert.rejects(apply(`${good}---\n${bad}`), (error: unknown) => {
      withCode('InvalidManifest')(error);
      const [fault] = (error as EvercertError).faults;
      assert.match(
        `${fault?.field}: ${fault?.message}`,
        /^spec\.revocations\[0\]\.kind: r\.yaml:\d+:13: unknown kind "dnss"; did you mean "DNS"/,
      );
      return true;
    });
    assert.deepEqual((await call(coordinator.admin.listRevocations, { cluster, name: '' })).revocations, []);
    await assert.rejects(call(coordinator.admin.listRevocations, { cluster, name: 'good' }), withCode('NotFound'));
  });

  // Last: the port changes.
  it('survive a restart', async () => {
    const serial = await issueAnew(cp1, 'apiserver');
    await apply(revocation('kept', `{ kind: serialnumber, serialNumber: "${serial}" }`));
    coordinator = await coordinator.restart();
    const [object] = (await call(coordinator.admin.listRevocations, { cluster, name: 'kept' })).revocations;
    assert.equal(object?.entries[0]?.value, serial);
    assert.deepEqual(
      (await listed(serial))?.revokedBy.map(({ object: by }) => by),
      ['kept'],
    );
  });
});
