/** CertificateSigningRequests as users of an API server make them, and what becomes of them. */
import type { KeyObject } from 'node:crypto';
import { type CertificateSigningRequest, type KubernetesApi, openKubernetesApi } from '@evercert/coordinator/kubernetes';
import { systemClock } from '@evercert/shared/clock';
import { createCsr, generateKeyPair, toPem } from '@evercert/shared/x509';
import { until } from './live.ts';

export const requestsPath = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const clientUsages = ['digital signature', 'key encipherment', 'client auth'];

/** The calls of one user. */
export function userApi(kubeconfig: string): KubernetesApi {
  const signal = new AbortController().signal;
  return openKubernetesApi({ kubeconfig, requestTimeoutMs: 20_000, signal, clock: systemClock, roles: 'the test' });
}

export interface RequestOptions {
  signerName: string;
  commonName?: string;
  organizations?: string[];
  dnsNames?: string[];
  ipAddresses?: string[];
  uris?: string[];
  usages?: string[];
  key?: KeyObject;
}

let count = 0;

/** Creates a request and returns its name. */
export async function request(api: KubernetesApi, options: RequestOptions, name = `csr-${process.pid}-${++count}`): Promise<string> {
  const { signerName, commonName = '', usages = clientUsages, key, ...rest } = options;
  const privateKey = key ?? (await generateKeyPair('ecdsa-p256')).privateKey;
  const csr = await createCsr({ privateKey, commonName, ...rest });
  const body = {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name },
    spec: { request: Buffer.from(toPem('CERTIFICATE REQUEST', csr)).toString('base64'), signerName, usages },
  };
  await api.send({ method: 'POST', path: requestsPath, body });
  return name;
}

export interface Outcome {
  state: 'Pending' | 'Approved' | 'Issued' | 'Denied' | 'Failed';
  reason: string;
  message: string;
  /** PEM. */
  certificate: string;
  object: CertificateSigningRequest;
}

export async function outcomeOf(api: KubernetesApi, name: string): Promise<Outcome> {
  const object = await api.send<CertificateSigningRequest>({ method: 'GET', path: `${requestsPath}/${name}` });
  const conditions = object.status?.conditions ?? [];
  const told = (type: string) => conditions.find((condition) => condition.type === type);
  const certificate = Buffer.from(object.status?.certificate ?? '', 'base64').toString();
  const condition = told('Failed') ?? told('Denied') ?? told('Approved');
  const state = certificate !== '' ? 'Issued' : ((condition?.type ?? 'Pending') as Outcome['state']);
  return { state, reason: condition?.reason ?? '', message: condition?.message ?? '', certificate, object };
}

/** Waits until the request has come so far. */
export async function untilState(api: KubernetesApi, name: string, state: Outcome['state']): Promise<Outcome> {
  let last: Outcome | undefined;
  const reached = async (): Promise<boolean> => {
    last = await outcomeOf(api, name);
    return last.state === state;
  };
  await until(`${name} to be ${state}`, 20_000, reached).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${last?.state} (${last?.reason}: ${last?.message})`, { cause: error });
  });
  return last as Outcome;
}

/** As `kubectl certificate approve`. */
export async function approve(api: KubernetesApi, name: string): Promise<void> {
  const { object } = await outcomeOf(api, name);
  const condition = { type: 'Approved', status: 'True', reason: 'KubectlApprove', message: 'by a person' };
  const status = { ...object.status, conditions: [...(object.status?.conditions ?? []), condition] };
  await api.send({ method: 'PUT', path: `${requestsPath}/${name}/approval`, body: { ...object, status } });
}
