/**
 * The bare cost of a renewal, measured in a process of its own on the same runtime: read the request's public key, verify its signature, sign a certificate's worth of bytes with the
 * CA's key. Nothing else: no parsing, no TLS, no store. Reads lines `{csr: [base64…], caAlgorithm}` and answers each with the CPU milliseconds per request.
 */
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { createInterface } from 'node:readline';
import { type KeyAlgorithm, parseCsr } from '@evercert/shared/x509';
import { inParallel } from './cpu.ts';

export interface BareOrder {
  csrs: string[];
  caAlgorithm: KeyAlgorithm;
  inFlight: number;
}

export interface BareResult {
  cpuMs: number;
  /** The same without reading the public key. */
  withoutKeyImportCpuMs: number;
}

interface Piece {
  spki: Buffer;
  tbs: Buffer;
  signature: Buffer;
  hash: string;
}

/** About the length of a TBSCertificate with SANs and P-384 keys. */
const toBeSigned = Buffer.alloc(600, 0x42);

async function measure(order: BareOrder): Promise<BareResult> {
  const pieces = order.csrs.map((csr): Piece => {
    const { spki, signed, signature, signatureAlgorithm } = parseCsr(Buffer.from(csr, 'base64'));
    return { spki, tbs: signed, signature, hash: signatureAlgorithm.hash };
  });
  const ca = caKey(order.caAlgorithm);
  const keys = pieces.map(({ spki }) => createPublicKey({ key: spki, format: 'der', type: 'spki' }));
  const run = async (importKeys: boolean): Promise<number> => {
    const start = process.cpuUsage();
    await inParallel(pieces.length, order.inFlight, async (index) => {
      const piece = pieces[index] as Piece;
      const key = importKeys ? createPublicKey({ key: piece.spki, format: 'der', type: 'spki' }) : (keys[index] as (typeof keys)[number]);
      const valid = await new Promise<boolean>((resolve, reject) =>
        verify(piece.hash, piece.tbs, key, piece.signature, (error, result) => (error ? reject(error) : resolve(result))),
      );
      if (!valid) throw new Error('a request does not verify');
      await new Promise((resolve, reject) =>
        sign(ca.hash, toBeSigned, ca.privateKey, (error, result) => (error ? reject(error) : resolve(result))),
      );
    });
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000 / pieces.length;
  };
  return { withoutKeyImportCpuMs: await run(false), cpuMs: await run(true) };
}

const caKeys = new Map<KeyAlgorithm, ReturnType<typeof makeCaKey>>();

function caKey(algorithm: KeyAlgorithm): ReturnType<typeof makeCaKey> {
  const key = caKeys.get(algorithm) ?? makeCaKey(algorithm);
  caKeys.set(algorithm, key);
  return key;
}

function makeCaKey(algorithm: KeyAlgorithm) {
  const { privateKey } =
    algorithm === 'rsa-4096' ? generateKeyPairSync('rsa', { modulusLength: 4096 }) : generateKeyPairSync('ec', { namedCurve: 'P-384' });
  return { privateKey, hash: algorithm === 'rsa-4096' ? 'sha256' : 'sha384' };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await measure(JSON.parse(line) as BareOrder))}\n`);
}
