import type { Clock } from '@evercert/shared/clock';
import { currentGeneration, firstGeneration, issuingGeneration, liveGenerations } from '../ca/generations.ts';
import { layout } from '../state/layout.ts';
import type { AuthorityGeneration, AuthorityRecord } from '../state/records.ts';
import type { HttpHandler, HttpReply, HttpRequest } from './http-server.ts';
import type { OcspReply, OcspResponder } from './ocsp-responder.ts';
import type { RevocationLists } from './revocation-lists.ts';
import type { AuthoritySource } from './source.ts';
import { type StatusResource, statusResource } from './urls.ts';

export interface StatusHandlerOptions {
  model: AuthoritySource;
  lists: RevocationLists;
  responder: OcspResponder;
  clock: Clock;
}

/** Nothing in between may keep an answer longer: a revocation is to be seen by everybody soon. */
const maxAgeSeconds = 60;

const notFound: HttpReply = { status: 404, body: 'there is nothing here; CRLs are at /crl/CLUSTER/CA.crl' };

/** What the coordinator tells anybody who asks: CRLs, OCSP answers and the CAs' certificates. */
export function statusHandler(options: StatusHandlerOptions): HttpHandler {
  return async (request) => {
    const resource = statusResource(request.path);
    if (!resource) return notFound;
    if (resource.kind === 'ocsp') return await ocspReply(options, resource, request);
    if (request.method === 'POST') return { status: 405, body: 'use GET', headers: { allow: 'GET, HEAD' } };
    return resource.kind === 'crl' ? crlReply(options, resource, request) : certificateReply(options, resource, request);
  };
}

function crlReply(
  { model, lists, clock }: StatusHandlerOptions,
  { cluster, issuer, generation }: StatusResource,
  request: HttpRequest,
): HttpReply {
  const crl = lists.get(cluster, issuer, generation);
  if (!crl) {
    const authority = model.authorities.get(layout.authority(cluster, issuer))?.record;
    const awaited =
      authority && liveGenerations(authority, clock.nowMs()).some(({ serial }) => generation === undefined || serial === generation);
    if (!awaited) return notFound;
    return { status: 503, body: `the CRL of ${issuer} is not made yet; try again`, headers: { 'retry-after': '5' } };
  }
  const headers = { ...caching(clock, crl.renewAtMs), 'last-modified': new Date(crl.issuedAtMs).toUTCString() };
  return tagged(request, { status: 200, type: 'application/pkix-crl', body: crl.der, headers }, crl.sha256);
}

function certificateReply(
  { model, clock }: StatusHandlerOptions,
  { cluster, issuer, generation }: StatusResource,
  request: HttpRequest,
): HttpReply {
  const authority = model.authorities.get(layout.authority(cluster, issuer))?.record;
  const found =
    authority &&
    (generation === undefined ? servedWithoutName(authority, clock.nowMs()) : issuingGeneration(authority, { issuerSerial: generation }));
  if (!found) return notFound;
  const headers = caching(clock, found.notAfterMs);
  const body = Buffer.from(found.certificate, 'base64');
  return tagged(request, { status: 200, type: 'application/pkix-cert', body, headers }, found.serial);
}

/** Certificates that name no generation are of the first one; where none of those can be in use any more, the current one is meant. */
function servedWithoutName(authority: AuthorityRecord, nowMs: number): AuthorityGeneration {
  const first = firstGeneration(authority);
  return liveGenerations(authority, nowMs).find(({ serial }) => serial === first.serial) ?? currentGeneration(authority);
}

/** RFC 6960 appendix A.1: the request as base64 in the path, or as the body of a POST. */
async function ocspReply({ responder, clock }: StatusHandlerOptions, resource: StatusResource, request: HttpRequest): Promise<HttpReply> {
  const { cluster, issuer, rest } = resource;
  const der = request.method === 'POST' ? request.body : fromPath(rest);
  if (request.method === 'POST' && (rest !== '' || !isOcspRequest(request))) {
    return { status: 415, body: 'expected a body of type application/ocsp-request at /ocsp/CLUSTER/CA' };
  }
  if (der === undefined) return { status: 400, body: 'expected an OCSP request in base64 at the end of the path' };
  const reply = await responder.reply(cluster, issuer, der);
  if (!reply) return notFound;
  const headers = request.method !== 'POST' && isKept(reply) ? caching(clock, reply.freshUntilMs) : {};
  return { status: 200, type: 'application/ocsp-response', body: reply.der, headers };
}

function isKept(reply: OcspReply): reply is Required<OcspReply> {
  return reply.freshUntilMs !== undefined;
}

function isOcspRequest({ headers }: HttpRequest): boolean {
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  return type.trim().toLowerCase() === 'application/ocsp-request';
}

/** Base64 may hold `/`, `+` and `=`, which clients encode or do not. Undefined: it is not base64. */
function fromPath(text: string): Buffer | undefined {
  if (!/^(?:[A-Za-z0-9+/=]|%[0-9A-Fa-f]{2})+$/.test(text)) return undefined;
  const base64 = text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}

function caching(clock: Clock, freshUntilMs: number): Record<string, string> {
  const seconds = Math.max(0, Math.min(maxAgeSeconds, Math.floor((freshUntilMs - clock.nowMs()) / 1000)));
  return { 'cache-control': `public, max-age=${seconds}, must-revalidate` };
}

/** With an entity tag, and the short answer for whoever has it already. */
function tagged(request: HttpRequest, reply: HttpReply, tag: string): HttpReply {
  const etag = `"${tag}"`;
  const headers = { ...reply.headers, etag };
  const known = (request.headers['if-none-match'] ?? '').split(',').map((text) => text.trim().replace(/^W\//, ''));
  return known.includes(etag) || known.includes('*') ? { status: 304, body: '', headers } : { ...reply, headers };
}
