import type { KeyObject } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  type KeyPair,
  newSerial,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';
import { stringify } from 'yaml';
import { at } from './support.ts';

const days = 86_400;

export interface TestCa {
  der: Buffer;
  issue(commonName: string, options?: { notBefore?: Date; notAfter?: Date; keys?: KeyPair }): Promise<TestLeaf>;
}

export interface TestLeaf {
  der: Buffer;
  privateKey: KeyObject;
}

/** P-256 throughout: what is judged does not depend on it, and it is fast. */
export async function testCa(commonName: string, notAfter = at(3650 * days)): Promise<TestCa> {
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const signer = signerFor(privateKey);
  const der = await createRootCertificate({ commonName, signer, serial: newSerial(), notBefore: at(-days), notAfter });
  const issuer = prepareIssuer(der, signer);
  return {
    der,
    async issue(name, { notBefore = at(-days), notAfter: end = at(3 * days), keys } = {}) {
      const pair = keys ?? (await generateKeyPair('ecdsa-p256'));
      const leaf = await issueLeaf(issuer, {
        spki: spkiDer(pair.publicKey),
        keyAlgorithm: 'ecdsa-p256',
        profile: {
          commonName: name,
          organizations: [],
          dnsNames: [name],
          ipAddresses: [],
          uris: [],
          usages: ['digital signature', 'server auth', 'client auth'],
        },
        serial: newSerial(),
        notBefore,
        notAfter: end,
      });
      return { der: leaf, privateKey: pair.privateKey };
    },
  };
}

/** A folder to fill and check; `remove` takes it away. */
export class PkiFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'evercert-pki-'));

  write(name: string, content: string | Buffer, mode = 0o600): void {
    mkdirSync(dirname(join(this.path, name)), { recursive: true });
    writeFileSync(join(this.path, name), content, { mode });
  }

  /** NAME.crt and NAME.key. */
  pair(name: string, { der, privateKey }: TestLeaf, keyMode = 0o600): void {
    this.write(`${name}.crt`, certificatesToPem([der]), 0o644);
    this.write(`${name}.key`, privateKeyToPem(privateKey), keyMode);
  }

  link(name: string, target: string): void {
    mkdirSync(dirname(join(this.path, name)), { recursive: true });
    symlinkSync(target, join(this.path, name));
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function combined(...leaves: TestLeaf[]): string {
  return leaves.map(({ der, privateKey }) => certificatesToPem([der]) + privateKeyToPem(privateKey)).join('');
}

export function kubeconfig(user: Record<string, string>, cluster: Record<string, string> = {}): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'demo', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
    users: [{ name: 'admin', user }],
    contexts: [{ name: 'admin@demo', context: { cluster: 'demo', user: 'admin' } }],
  });
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64');
