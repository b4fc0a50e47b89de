import { request } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { KubeconfigCredential } from './kubeconfig.ts';

export interface KubernetesRequest {
  method: 'GET' | 'POST' | 'PATCH';
  /** With its query. */
  path: string;
  body?: object;
  contentType?: string;
}

export interface KubernetesResponse {
  status: number;
  body: string;
  /** Serial of the certificate that the server showed. */
  servedSerial: string;
}

export interface RequestOptions {
  clock: Clock;
  deadlineMs: number;
}

const maxBody = 1024 * 1024;

/**
 * One request over a connection of its own, as an invocation of kubectl makes it: a whole handshake, both sides verified, nothing resumed, nothing tried again. Any HTTP answer is an answer.
 * Unavailable: there was none (refused, wrong certificates, cut); DeadlineExceeded.
 */
export function sendOnce(
  credential: KubeconfigCredential,
  { method, path, body, contentType = 'application/json' }: KubernetesRequest,
  { clock, deadlineMs }: RequestOptions,
): Promise<KubernetesResponse> {
  const url = new URL(path, credential.server);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method,
        agent: false,
        ca: credential.ca,
        cert: credential.certificate,
        key: credential.privateKey,
        headers: { accept: 'application/json', ...(body && { 'content-type': contentType }) },
      },
      (response) => {
        const servedSerial = (response.socket as TLSSocket).getPeerCertificate().serialNumber.toLowerCase();
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBody) outgoing.destroy(new Error(`an answer of more than ${maxBody} bytes`));
          chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('end', () => {
          timer.cancel();
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), servedSerial });
        });
      },
    );
    const late = new EvercertError('DeadlineExceeded', `${url.host} did not answer within ${deadlineMs / 1000} s`);
    const timer = clock.after(deadlineMs, () => outgoing.destroy(late));
    function fail(error: Error): void {
      timer.cancel();
      reject(error === late ? late : new EvercertError('Unavailable', `no answer from ${url.host}: ${error.message}`, { cause: error }));
    }
    outgoing.on('error', fail);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
