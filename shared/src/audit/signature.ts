import { createHash, verify, X509Certificate } from 'node:crypto';
import { EvercertError } from '../errors/index.ts';
import { canonicalJson } from './canonical.ts';
import type { AuditCheckpoint } from './types.ts';

/** Order of P-256's group (SEC 2, section 2.4.2). */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const coordinateBytes = 32;

/** The bytes that a checkpoint's key signs. The certificate is in them, so that it cannot be put in another's place. */
export function checkpointBytes({ log, sequence, hash, time, certificate }: Omit<AuditCheckpoint, 'signature' | 'type'>): Buffer {
  const certificateSha256 = createHash('sha256').update(Buffer.from(certificate, 'base64')).digest('hex');
  return Buffer.from(`evercert audit checkpoint v1\n${canonicalJson({ log, sequence, hash, time, certificateSha256 })}`);
}

/** An ECDSA signature over P-256 in DER as a checkpoint has it. Of the two values of s that verify, the lower: so no second spelling of a signature is good. */
export function encodeSignature(der: Buffer): string {
  const { r, s } = readSignature(der);
  const low = s > order / 2n ? order - s : s;
  return Buffer.concat([toBytes(r), toBytes(low)]).toString('base64');
}

/** Undefined: the signature is the certificate's key's; else what is wrong. */
export function signatureFault(checkpoint: AuditCheckpoint): string | undefined {
  const signature = Buffer.from(checkpoint.signature, 'base64');
  const der = Buffer.from(checkpoint.certificate, 'base64');
  // Base64 may end in bits that say nothing: those too have one spelling.
  if (der.toString('base64') !== checkpoint.certificate) return 'its certificate is not in the form expected';
  if (signature.toString('base64') !== checkpoint.signature || signature.length !== 2 * coordinateBytes) {
    return 'its signature is not in the form expected';
  }
  if (toNumber(signature.subarray(coordinateBytes)) > order / 2n) return 'its signature is not in the form expected';
  let key: X509Certificate['publicKey'];
  try {
    key = new X509Certificate(der).publicKey;
  } catch (error) {
    return `its certificate cannot be read: ${String(error)}`;
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return 'its key is not one of P-256';
  const good = verify('sha256', checkpointBytes(checkpoint), { key, dsaEncoding: 'ieee-p1363' }, signature);
  return good ? undefined : 'its signature is not good';
}

/** SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3); a P-256 signature has short lengths only. */
function readSignature(der: Buffer): { r: bigint; s: bigint } {
  const integer = (at: number): { value: bigint; end: number } => {
    const length = der[at + 1] ?? 0;
    if (der[at] !== 0x02 || length === 0 || length > coordinateBytes + 1 || at + 2 + length > der.length) throw unreadable();
    return { value: toNumber(der.subarray(at + 2, at + 2 + length)), end: at + 2 + length };
  };
  if (der[0] !== 0x30 || der[1] !== der.length - 2) throw unreadable();
  const r = integer(2);
  const s = integer(r.end);
  if (s.end !== der.length || r.value >= order || s.value >= order) throw unreadable();
  return { r: r.value, s: s.value };
}

function unreadable(): EvercertError {
  return new EvercertError('Internal', 'an audit key gave a signature that is none of ECDSA over P-256; expected DER of two numbers');
}

function toNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
}

function toBytes(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(2 * coordinateBytes, '0'), 'hex');
}
