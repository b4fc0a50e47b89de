import type { KeyObject } from 'node:crypto';
import { signerFor } from '@evercert/shared/x509';
import { missingKey } from './ids.ts';
import type { Signer } from './types.ts';

/** A private key in this process' memory, until it is destroyed: then its signers, whoever has them, sign nothing any more. */
export class HeldKey {
  readonly signer: Signer;
  readonly #id: string;
  /** Nothing else holds the key, so that nothing of it is left when this is gone. */
  #held: { privateKey: KeyObject; signer: Signer } | undefined;

  /** InvalidArgument: not a private key, or of no known algorithm. */
  constructor(id: string, privateKey: KeyObject) {
    this.#id = id;
    const signer = signerFor(privateKey);
    this.#held = { privateKey, signer };
    const { keyAlgorithm, publicKey } = signer;
    this.signer = { keyAlgorithm, publicKey, sign: async (data) => this.#open().signer.sign(data) };
  }

  /** NotFound: it was destroyed. */
  get privateKey(): KeyObject {
    return this.#open().privateKey;
  }

  get isDestroyed(): boolean {
    return this.#held === undefined;
  }

  destroy(): void {
    this.#held = undefined;
  }

  #open(): { privateKey: KeyObject; signer: Signer } {
    if (this.#held === undefined) throw missingKey(this.#id);
    return this.#held;
  }
}
