import { mechanismOf, ulong } from './attributes.ts';
import type { Pkcs11Library } from './library.ts';

const serialAndWritable = 0x6;

/** Sessions of one token, each used by one at a time; whoever finds none waits. They hang on the login of the control session. */
export class Sessions {
  readonly #library: Pkcs11Library;
  readonly #slot: bigint;
  readonly #limit: number;
  readonly #idle: bigint[] = [];
  readonly #waiting: (() => void)[] = [];
  #open = 0;

  constructor(library: Pkcs11Library, slot: bigint, limit: number) {
    this.#library = library;
    this.#slot = slot;
    this.#limit = limit;
  }

  async open(): Promise<bigint> {
    const handle = ulong(0);
    await this.#library.call('OpenSession', [this.#slot, serialAndWritable, null, null, handle]);
    return handle.readBigUInt64LE();
  }

  async sign(key: bigint, mechanism: number, data: Uint8Array, maxBytes: number): Promise<Buffer> {
    return this.#use(async (session) => {
      await this.#library.call('SignInit', [session, mechanismOf(mechanism), key]);
      const signature = Buffer.alloc(maxBytes);
      const length = ulong(maxBytes);
      await this.#library.call('Sign', [session, Buffer.from(data), data.length, signature, length]);
      return signature.subarray(0, Number(length.readBigUInt64LE()));
    });
  }

  /** A session in which something failed may be in the middle of an operation: it is not used again. */
  async #use<T>(work: (session: bigint) => Promise<T>): Promise<T> {
    const session = await this.#take();
    try {
      const result = await work(session);
      this.#idle.push(session);
      return result;
    } catch (error) {
      this.#open -= 1;
      // That it cannot be closed either tells nothing more.
      await this.#library.call('CloseSession', [session]).catch(() => undefined);
      throw error;
    } finally {
      this.#waiting.shift()?.();
    }
  }

  async #take(): Promise<bigint> {
    for (;;) {
      const idle = this.#idle.pop();
      if (idle !== undefined) return idle;
      if (this.#open < this.#limit) {
        this.#open += 1;
        try {
          return await this.open();
        } catch (error) {
          this.#open -= 1;
          throw error;
        }
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}
