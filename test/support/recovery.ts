import type { KeyObject } from 'node:crypto';
import { RecoveryServiceClient } from '@evercert/proto';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { signRecovery } from '@evercert/shared/wire';
import { createCsr, generateKeyPair } from '@evercert/shared/x509';
import { deadline, type TestCoordinator } from './coordinator.ts';

export interface Attempt {
  nonce: Buffer;
  certificate: Buffer;
  csr: Buffer;
  signature: Buffer;
}

export interface RecoveryParts {
  certificate: Buffer;
  /** Signs the statement. */
  privateKey: KeyObject;
  /** The new key; made when absent. */
  newKey?: KeyObject;
  /** Instead of a fresh one. */
  nonce?: Buffer;
}

/** A stranger who calls the recovery service. */
export class RecoveryCaller {
  readonly #client: RecoveryServiceClient;

  constructor(coordinator: Pick<TestCoordinator, 'address' | 'anchors'>) {
    const credentials = createClientCredentials({ trustAnchors: coordinator.anchors });
    this.#client = new RecoveryServiceClient(coordinator.address, credentials, { 'grpc.use_local_subchannel_pool': 1 });
  }

  async begin(): Promise<Buffer> {
    return (await unary(this.#client.beginRecovery.bind(this.#client), {}, deadline)).nonce;
  }

  /** All that an honest node sends, not sent yet. */
  async prepare({ certificate, privateKey, newKey, nonce }: RecoveryParts): Promise<Attempt> {
    const key = newKey ?? (await generateKeyPair('ecdsa-p256')).privateKey;
    const csr = await createCsr({ privateKey: key, commonName: 'ignored' });
    const statement = { nonce: nonce ?? (await this.begin()), certificate, csr };
    return { ...statement, signature: await signRecovery(privateKey, statement) };
  }

  async send(attempt: Attempt): Promise<Buffer[]> {
    const { chain } = await unary(this.#client.recover.bind(this.#client), attempt, deadline);
    return chain.map((der) => Buffer.from(der));
  }

  async recover(parts: RecoveryParts): Promise<Buffer[]> {
    return this.send(await this.prepare(parts));
  }

  close(): void {
    this.#client.close();
  }
}
