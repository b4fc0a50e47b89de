import assert from 'node:assert/strict';
import {
  BridgeStatus,
  type CertificateSigningRequest,
  type KubernetesRequest,
  RequestWriter,
  Signers,
  type SignersOptions,
} from '@evercert/coordinator/kubernetes';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { createCsr, generateKeyPair, toPem } from '@evercert/shared/x509';

const creationTimestamp = '2026-01-01T00:00:00Z';

describe('the signers of one bridge', () => {
  let clock: FakeClock;
  let sent: KubernetesRequest[];
  let answers: (request: KubernetesRequest) => object;
  let issued: (() => never) | undefined;
  let status: BridgeStatus;
  let csr: string;

  before(async () => {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    csr = toPem('CERTIFICATE REQUEST', await createCsr({ privateKey, commonName: 'system:node:a', organizations: ['system:nodes'] }));
  });

  beforeEach(() => {
    clock = new FakeClock(Date.parse(creationTimestamp));
    sent = [];
    answers = () => ({ status: { allowed: true } });
    issued = undefined;
    status = new BridgeStatus(clock);
  });

  function signers(config: object = {}): Signers {
    const send = async (request: KubernetesRequest): Promise<object> => {
      sent.push(request);
      return answers(request);
    };
    const options = {
      context: {
        cluster: 'demo',
        config: { ownSigners: [], autoApprove: {}, backdate: 0, cleanup: false, ...config },
        status,
        clock,
        logger: silentLogger,
      },
      writer: new RequestWriter({ send } as unknown as ConstructorParameters<typeof RequestWriter>[0], () => clock.nowMs()),
      certificates: { refuse: () => undefined, issue: async () => issued?.() ?? { chain: [Buffer.from('leaf')], fresh: true } },
      events: { recordOncePerMinute: () => undefined },
    };
    return new Signers(options as unknown as SignersOptions);
  }

  const object = (more: { spec?: object; status?: CertificateSigningRequest['status'] } = {}): CertificateSigningRequest => ({
    metadata: { name: 'csr-1', uid: 'uid-1', resourceVersion: '7', creationTimestamp },
    spec: {
      request: Buffer.from(csr).toString('base64'),
      signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
      usages: ['digital signature', 'client auth'],
      username: 'system:bootstrap:abcdef',
      ...more.spec,
    },
    ...(more.status && { status: more.status }),
  });
  const approved = { conditions: [{ type: 'Approved' as const, status: 'True', lastUpdateTime: creationTimestamp }] };
  const steps = (): string[] => sent.map(({ method, path }) => `${method} ${path.split('/').at(-1)}`);

  it('ask, approve and answer in this order', async () => {
    answers = ({ path }) => (path.endsWith('approval') ? object({ status: approved }) : { status: { allowed: true } });
    await signers().reconcile(object());
    assert.deepEqual(steps(), ['POST subjectaccessreviews', 'PUT approval', 'PUT status']);
    assert.equal(status.view().signed, 1);
  });

  it('leave alone what is answered, denied, failed, deleted or not theirs', async () => {
    const one = signers();
    await one.reconcile(undefined);
    await one.reconcile(object({ status: { ...approved, certificate: 'x' } }));
    await one.reconcile(object({ status: { conditions: [{ type: 'Denied', status: 'True' }] } }));
    await one.reconcile(object({ status: { conditions: [...approved.conditions, { type: 'Failed', status: 'True' }] } }));
    await one.reconcile(object({ spec: { signerName: 'example.com/mine' } }));
    const deleted = object();
    await one.reconcile({ ...deleted, metadata: { ...deleted.metadata, deletionTimestamp: creationTimestamp } });
    assert.deepEqual(sent, []);
  });

  it('deny what cannot be read, and fail it when it is approved', async () => {
    const request = Buffer.from('nonsense').toString('base64');
    await signers().reconcile(object({ spec: { request } }));
    await signers().reconcile(object({ spec: { request }, status: approved }));
    assert.deepEqual(steps(), ['PUT approval', 'PUT status']);
    const { denied, failed } = status.view();
    assert.deepEqual([denied, failed], [1, 1]);
  });

  it('take no refusal of the API server, and no trouble of the coordinator, for a verdict on the request', async () => {
    const forbidden = new EvercertError('PermissionDenied', 'forbidden', { metadata: { httpStatus: '403' } });
    answers = () => {
      throw forbidden;
    };
    await assert.rejects(signers().reconcile(object()), forbidden);
    assert.deepEqual(steps(), ['POST subjectaccessreviews']);
    for (const code of ['Overloaded', 'Conflict', 'StoreFailure', 'FailedPrecondition', 'DataLoss', 'Internal'] as const) {
      issued = () => {
        throw new EvercertError(code, 'later');
      };
      await assert.rejects(
        signers().reconcile(object({ status: approved })),
        (error) => error instanceof EvercertError && error.code === code,
      );
    }
    assert.equal(sent.length, 1, 'nothing was written');
  });

  it('delete what is old where they are told to, in exactly the state in which it is old', async () => {
    const denied = object({ status: { conditions: [{ type: 'Denied', status: 'True', lastUpdateTime: creationTimestamp }] } });
    assert.deepEqual(await signers({ cleanup: true }).reconcile(denied), { againAfterMs: 3_600_000 });
    await clock.advance(3_600_000);
    await signers().reconcile(denied);
    assert.deepEqual(steps(), []);
    await signers({ cleanup: true }).reconcile(denied);
    assert.deepEqual(
      [steps(), sent.map(({ body }) => (body as { preconditions?: object }).preconditions)],
      [['DELETE csr-1'], [{ uid: 'uid-1', resourceVersion: '7' }]],
    );
  });
});
