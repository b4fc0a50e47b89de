/**
 * The node's own identity on disk. The next key is durable before a request is made for it; key and chain then come into use by the rename of one file, so that
 * they can never be apart. A crash in between finds the waiting key again, and the coordinator answers the same key with the same certificate.
 */
import type { KeyObject } from 'node:crypto';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import { type RoleName, roles } from '@evercert/shared/manifest';
import {
  certificatesFromPem,
  certificatesToPem,
  generateKeyPair,
  matchesPin,
  pairMatches,
  parseCertificate,
  privateKeyFromPem,
  privateKeyToPem,
  verifyChain,
} from '@evercert/shared/x509';
import * as z from 'zod';
import type { StateFolder } from '../state/folder.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import { ControlPins } from './pins.ts';

export interface Identity {
  nodeName: string;
  cluster: string;
  role: RoleName;
  privateKey: KeyObject;
  /** DER, leaf first. */
  chain: Buffer[];
  serial: string;
  /** When it was received: identities' lives are counted from here, not from the backdated notBefore. */
  issuedAtMs: number;
  notAfterMs: number;
}

export interface NewIdentity {
  chain: Buffer[];
  trustAnchors: Buffer[];
  /** What the coordinator that gave it presented, DER, leaf first. */
  serverChain: Buffer[];
  cluster: string;
  role: RoleName;
  issuedAtMs: number;
}

/** Every durable step, in order. */
export const identityFaultPoints = [
  'agent.identity.key-written',
  'agent.identity.chain-received',
  'agent.identity.anchors-written',
  'agent.identity.installed',
  'agent.identity.key-cleared',
] as const;

const nextKeyFile = 'identity/next-key.pem';
const identityFile = 'identity/identity.json';
const anchorsFile = 'identity/trust-anchors.pem';
const maxAnchors = 16;

const schema = z.object({
  version: z.literal(1),
  nodeName: z.string(),
  cluster: z.string(),
  role: z.enum(roles),
  issuedAtMs: z.number(),
  privateKey: z.string(),
  chain: z.string(),
});

export class IdentityStore {
  readonly #folder: StateFolder;
  readonly #logger: Logger;
  readonly #nodeName: string;
  /** Whoever looks at the files waits for whoever writes them: it would take new ones for damaged ones. */
  readonly #turn = new KeyedLock();
  #identity: Identity | undefined;
  #anchors: Buffer[] = [];
  readonly #pins: ControlPins;

  /** `caPins`: of the configuration. */
  constructor({
    folder,
    logger,
    nodeName,
    caPins = [],
  }: { folder: StateFolder; logger: Logger; nodeName: string; caPins?: readonly string[] }) {
    this.#folder = folder;
    this.#logger = logger;
    this.#nodeName = nodeName;
    this.#pins = new ControlPins({ folder, logger, configured: caPins });
  }

  /** The identity in use, valid or expired; undefined before the node has joined. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** DER of the control CA's certificates; empty before the node has joined. */
  get trustAnchors(): Buffer[] {
    return this.#anchors;
  }

  /** By which public keys a coordinator may be found. */
  get pins(): string[] {
    return this.#pins.inEffect(this.#anchors);
  }

  /** Reads what is on disk. What is damaged or for another node name counts as absent: a token then brings the node back. Errors: FileSystem. */
  async load(): Promise<void> {
    await this.#pins.load();
    const anchors = await this.#folder.read(anchorsFile);
    const content = await this.#folder.read(identityFile);
    this.#anchors = (anchors && this.#understand('trust anchors', () => certificatesFromPem(anchors))) ?? [];
    const identity = content && this.#understand('identity', () => decode(content));
    if (identity && identity.nodeName !== this.#nodeName) {
      this.#logger.warn('The identity on disk is for another node name and is not used', {
        node: this.#nodeName,
        found: identity.nodeName,
      });
      return;
    }
    this.#identity = identity;
    if (identity) await this.#finishInstallation(identity);
  }

  /** The key for the next request: the one that waits on disk, or a new one. Durable when it resolves. */
  async nextKey(): Promise<KeyObject> {
    const waiting = await this.#folder.read(nextKeyFile);
    const known = waiting && this.#understand('next identity key', () => privateKeyFromPem(waiting));
    if (known) return known;
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    await this.#folder.write(nextKeyFile, privateKeyToPem(privateKey));
    faultPoint('agent.identity.key-written');
    return privateKey;
  }

  /** The coordinator will not take the waiting key: the next request makes a new one. */
  discardNextKey(): Promise<void> {
    return this.#folder.remove(nextKeyFile);
  }

  /** Checks the chain against key and anchors, then puts it into use. Errors: PairMismatch, InvalidCertificate, DiskFull, FileSystem. */
  install(received: NewIdentity): Promise<Identity> {
    return this.#turn.run('', () => this.#install(received));
  }

  async #install(received: NewIdentity): Promise<Identity> {
    faultPoint('agent.identity.chain-received');
    const privateKey = await this.nextKey();
    const { chain, trustAnchors, serverChain, cluster, role, issuedAtMs } = received;
    const leaf = chain[0];
    if (!leaf || !pairMatches(leaf, privateKey)) {
      throw new EvercertError('PairMismatch', 'the coordinator answered with an identity for another key; the next try makes a new key');
    }
    verifyChain({ chain, anchors: trustAnchors, atMs: issuedAtMs, usage: 'client auth' });
    try {
      await this.#adoptTrustAnchors(trustAnchors, { serverChain, atMs: issuedAtMs });
    } catch (error) {
      // The coordinator proved itself by what is trusted: with that the new identity is as good, and the set is told again with the desired state.
      if (this.#anchors.length === 0) throw error;
    }
    faultPoint('agent.identity.anchors-written');
    const { serial, notAfter } = parseCertificate(leaf);
    const identity: Identity = {
      nodeName: this.#nodeName,
      cluster,
      role,
      privateKey,
      chain,
      serial,
      issuedAtMs,
      notAfterMs: notAfter.getTime(),
    };
    await this.#folder.write(identityFile, encode(identity));
    faultPoint('agent.identity.installed');
    this.#identity = identity;
    await this.#folder.remove(nextKeyFile);
    faultPoint('agent.identity.key-cleared');
    return identity;
  }

  /**
   * Replaces the trust anchors by those that a coordinator told, never by none; durable before they are used. True when they changed. InvalidCertificate: the coordinator itself does
   * not stand under them.
   *
   * @param shown what it presented, DER, leaf first.
   */
  adoptTrustAnchors(anchors: Buffer[], shown: { serverChain: Buffer[]; atMs: number }): Promise<boolean> {
    return this.#turn.run('', () => this.#adoptTrustAnchors(anchors, shown));
  }

  /** No coordinator is found by these public keys any more; durable when it resolves. */
  retirePins(pins: readonly string[]): Promise<void> {
    return this.#turn.run('', () => this.#pins.retire(pins, this.#anchors));
  }

  /** An administrator's word at the node: the control CA has one of these public keys, and no other is trusted from here on. */
  trustOnly(pins: readonly string[]): Promise<void> {
    return this.#turn.run('', async () => {
      await this.#pins.give(pins, this.#anchors);
      const kept = this.#anchors.filter((der) => matchesPin(der, [...pins]));
      if (kept.length === this.#anchors.length) return;
      await (kept.length > 0 ? this.#folder.write(anchorsFile, certificatesToPem(kept)) : this.#folder.remove(anchorsFile));
      this.#anchors = kept;
    });
  }

  async #adoptTrustAnchors(anchors: Buffer[], { serverChain, atMs }: { serverChain: Buffer[]; atMs: number }): Promise<boolean> {
    if (anchors.length === 0) return false;
    try {
      verifyChain({ chain: serverChain, anchors, atMs, usage: 'server auth' });
    } catch (error) {
      throw new EvercertError(
        'InvalidCertificate',
        `the coordinator told control CAs by which it does not stand itself; those that were trusted before stay: ${toEvercertError(error).message}`,
        { cause: error },
      );
    }
    // First: a crash in between leaves a pin out that what is still trusted stands for anyway.
    await this.#pins.replaced(this.#anchors, anchors);
    return await this.#saveTrustAnchors(anchors);
  }

  async #saveTrustAnchors(anchors: Buffer[]): Promise<boolean> {
    const known = new Set(this.#anchors.map((der) => der.toString('hex')));
    const same = anchors.length === known.size && anchors.every((der) => known.has(der.toString('hex')));
    if (anchors.length === 0 || same) return false;
    for (const der of anchors) parseCertificate(der);
    await this.#folder.write(anchorsFile, certificatesToPem(anchors.slice(0, maxAnchors)));
    this.#anchors = anchors.slice(0, maxAnchors);
    return true;
  }

  /** Adds anchors that were found by their pins, the newest first. True when one was new. */
  addTrustAnchors(found: Buffer[]): Promise<boolean> {
    const fresh = found.filter((der) => !this.#anchors.some((known) => known.equals(der)));
    return fresh.length === 0
      ? Promise.resolve(false)
      : this.#turn.run('', () => this.#saveTrustAnchors([...fresh, ...this.#anchors].slice(0, maxAnchors)));
  }

  /** Writes the identity and the anchors again if somebody took them away or changed them while the agent ran. Returns the names of what was mended. */
  restore(): Promise<string[]> {
    return this.#turn.run('', () => this.#restore());
  }

  async #restore(): Promise<string[]> {
    const mended: string[] = [];
    const wanted: [string, string][] = [];
    if (this.#identity) wanted.push([identityFile, encode(this.#identity)]);
    if (this.#anchors.length > 0) wanted.push([anchorsFile, certificatesToPem(this.#anchors)]);
    for (const [name, content] of wanted) {
      if ((await this.#folder.read(name))?.toString() === content) continue;
      await this.#folder.write(name, content);
      mended.push(name);
    }
    return mended;
  }

  /** A crash may have left the key of the identity in use in the place of the next one: a renewal with it would bring the same certificate again. */
  async #finishInstallation({ chain }: Identity): Promise<void> {
    const waiting = await this.#folder.read(nextKeyFile);
    const key = waiting && this.#understand('next identity key', () => privateKeyFromPem(waiting));
    if (key && chain[0] && pairMatches(chain[0], key)) await this.#folder.remove(nextKeyFile);
  }

  #understand<T>(what: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      // Only the code: a parser's message may quote what it read, and that holds a key.
      this.#logger.error('A file of the identity is damaged and counts as absent', { what, code: toEvercertError(error).code });
      return undefined;
    }
  }
}

function encode({ privateKey, chain, nodeName, cluster, role, issuedAtMs }: Identity): string {
  const keyPem = privateKeyToPem(privateKey);
  return JSON.stringify({ version: 1, nodeName, cluster, role, issuedAtMs, privateKey: keyPem, chain: certificatesToPem(chain) }, null, 2);
}

function decode(content: Buffer): Identity {
  const { nodeName, cluster, role, issuedAtMs, ...pem } = schema.parse(JSON.parse(content.toString()));
  const privateKey = privateKeyFromPem(pem.privateKey);
  const chain = certificatesFromPem(pem.chain);
  const leaf = chain[0];
  if (!leaf || !pairMatches(leaf, privateKey))
    throw new EvercertError('PairMismatch', 'key and certificate of the identity do not belong together');
  const { serial, notAfter } = parseCertificate(leaf);
  return { nodeName, cluster, role, privateKey, chain, serial, issuedAtMs, notAfterMs: notAfter.getTime() };
}
