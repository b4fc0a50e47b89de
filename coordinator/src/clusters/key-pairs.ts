import { type KeyObject, randomBytes } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import type { KeyPairManifest } from '@evercert/shared/manifest';
import type { KeyAlgorithm } from '@evercert/shared/x509';
import type { DesiredStates } from '../desired/desired-states.ts';
import type { KeyProvider } from '../keys/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { KeyPairRecord } from '../state/records.ts';

/** Key pairs that must be the same on several nodes: made here, kept as the CA keys are, sent to control-plane nodes of the cluster alone (invariant 1). */
export class KeyPairs {
  readonly #keys: KeyProvider;
  readonly #model: Model;
  readonly #desired: DesiredStates;

  constructor(options: { keys: KeyProvider; model: Model; desired: DesiredStates }) {
    this.#keys = options.keys;
    this.#model = options.model;
    this.#desired = options.desired;
  }

  /** Makes a key pair for a manifest; the record is the caller's to write. A key that a crash left without a record is in no use. */
  async create(cluster: string, manifest: KeyPairManifest, clusterAlgorithm: KeyAlgorithm): Promise<KeyPairRecord> {
    const version = randomBytes(8).toString('hex');
    const { name } = manifest.metadata;
    const keyId = `shared/${cluster}/${name}/${version}`;
    const { publicKey } = await this.#keys.generate(keyId, manifest.spec.keyAlgorithm ?? clusterAlgorithm);
    return { cluster, name, keyId, version, publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
  }

  /** Takes a key pair over that the cluster's nodes hold already; what `create` says of key and record holds here too. */
  async import(cluster: string, name: string, privateKey: KeyObject): Promise<KeyPairRecord> {
    const version = randomBytes(8).toString('hex');
    const keyId = `shared/${cluster}/${name}/${version}`;
    const { publicKey } = await this.#keys.import(keyId, privateKey);
    return { cluster, name, keyId, version, publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
  }

  /** NotFound: nothing of this name is declared for the node. PermissionDenied: the node is no control-plane node. */
  async handOut(cluster: string, node: string, name: string): Promise<{ version: string; privateKeyPem: string; publicKeyPem: string }> {
    if (this.#model.node(cluster, node)?.role !== 'control-plane') {
      throw new EvercertError('PermissionDenied', 'shared key pairs are for control-plane nodes alone');
    }
    const declared = this.#desired.plan(cluster, node)?.resolved.keyPairs.some((pair) => pair.name === name);
    const record = this.#model.keyPairs.get(layout.keyPair(cluster, name))?.record;
    if (!declared || !record) throw new EvercertError('NotFound', `no manifest declares a key pair ${name.slice(0, 63)} for node ${node}`);
    return { version: record.version, privateKeyPem: await this.#keys.exportShared(record.keyId), publicKeyPem: record.publicKeyPem };
  }
}
