import { EvercertError } from '@evercert/shared/errors';
import koffi, { type LibraryHandle } from 'koffi';
import { type Attributes, type attribute, lengthAt, template, ulong, unavailable, word } from './attributes.ts';
import { returnValues, TokenError } from './return-values.ts';

/** CK_FUNCTION_LIST of version 2 (pkcs11f.h): every library has exactly these, in this order, after its version. */
const order =
  'Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo GetMechanismList GetMechanismInfo InitToken InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo GetOperationState SetOperationState Login Logout CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue SetAttributeValue FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal DecryptInit Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate DigestKey DigestFinal SignInit Sign'.split(
    ' ',
  );

const pointer = 'void *';
const number = 'unsigned long';

/** The functions that are used, by the types of their arguments. All return a CK_RV. */
const signatures = {
  Initialize: [pointer],
  Finalize: [pointer],
  GetSlotList: ['uint8', pointer, pointer],
  GetTokenInfo: [number, pointer],
  OpenSession: [number, number, pointer, pointer, pointer],
  CloseSession: [number],
  Login: [number, number, pointer, number],
  CreateObject: [number, pointer, number, pointer],
  DestroyObject: [number, number],
  GetAttributeValue: [number, number, pointer, number],
  FindObjectsInit: [number, pointer, number],
  FindObjects: [number, pointer, number, pointer],
  FindObjectsFinal: [number],
  SignInit: [number, pointer, number],
  Sign: [number, pointer, number, pointer, pointer],
  GenerateKeyPair: [number, pointer, pointer, number, pointer, number, pointer, pointer],
} as const;

const places: Record<string, number> = { ...Object.fromEntries(order.map((name, i) => [name, i])), GenerateKeyPair: 59 };
const stackBytes = 1024 * 1024;

type Name = keyof typeof signatures;
type Argument = number | bigint | Buffer | null;
type Native = (...values: Argument[]) => Promise<number>;

export interface PairHandles {
  publicKey: bigint;
  privateKey: bigint;
}

/** A PKCS#11 library. Its functions run on the thread pool of this process, which is there for nothing else. */
export class Pkcs11Library {
  readonly #functions: Record<Name, Native>;
  /** What the library may still read or write: nothing else keeps it while a call is under way. */
  readonly #pinned = new Set<readonly unknown[]>();

  /** FailedPrecondition: it cannot be loaded, or is no PKCS#11 library. */
  constructor(path: string) {
    if (koffi.sizeof(number) !== word) throw unusable(path, 'PKCS#11 works on 64-bit Linux only');
    // Libraries want more than the 128 KiB that these calls have otherwise.
    koffi.config({ ...koffi.config(), async_stack_size: stackBytes });
    const table = functionTable(path, load(path));
    const names = Object.keys(signatures) as Name[];
    this.#functions = Object.fromEntries(names.map((name) => [name, native(table, name)])) as Record<Name, Native>;
  }

  async initialize(): Promise<void> {
    // CK_C_INITIALIZE_ARGS with CKF_OS_LOCKING_OK: calls come from several threads.
    const args = Buffer.concat([Buffer.alloc(4 * word), ulong(2), Buffer.alloc(word)]);
    await this.call('Initialize', [args]);
  }

  /** Rejects with a TokenError unless the function returns CKR_OK. */
  async call(name: Name, values: readonly Argument[], keep: readonly unknown[] = []): Promise<void> {
    const pin = [values, keep];
    this.#pinned.add(pin);
    try {
      const value = await this.#functions[name](...values);
      if (value !== returnValues.CKR_OK) throw new TokenError(`C_${name}`, value);
    } finally {
      this.#pinned.delete(pin);
    }
  }

  async slots(): Promise<bigint[]> {
    const count = ulong(0);
    await this.call('GetSlotList', [1, null, count]);
    const list = Buffer.alloc(Number(count.readBigUInt64LE()) * word);
    if (list.length === 0) return [];
    await this.call('GetSlotList', [1, list, count]);
    return handles(list, Number(count.readBigUInt64LE()));
  }

  async create(session: bigint, attributes: Attributes): Promise<bigint> {
    const { bytes, count, values } = template(attributes, koffi.address);
    const handle = ulong(0);
    await this.call('CreateObject', [session, bytes, count, handle], values);
    return handle.readBigUInt64LE();
  }

  async generatePair(session: bigint, mechanism: Buffer, publicKey: Attributes, privateKey: Attributes): Promise<PairHandles> {
    const [pub, priv] = [template(publicKey, koffi.address), template(privateKey, koffi.address)];
    const [publicHandle, privateHandle] = [ulong(0), ulong(0)];
    const values = [session, mechanism, pub.bytes, pub.count, priv.bytes, priv.count, publicHandle, privateHandle];
    await this.call('GenerateKeyPair', values, [pub, priv]);
    return { publicKey: publicHandle.readBigUInt64LE(), privateKey: privateHandle.readBigUInt64LE() };
  }

  async find(session: bigint, attributes: Attributes, limit: number): Promise<bigint[]> {
    const { bytes, count, values } = template(attributes, koffi.address);
    await this.call('FindObjectsInit', [session, bytes, count], values);
    try {
      const found = Buffer.alloc(limit * word);
      const number = ulong(0);
      await this.call('FindObjects', [session, found, limit, number]);
      return handles(found, Number(number.readBigUInt64LE()));
    } finally {
      await this.call('FindObjectsFinal', [session]);
    }
  }

  /** Values of an object; those that it does not have, or does not tell, are missing. */
  async read<N extends keyof typeof attribute>(session: bigint, object: bigint, names: readonly N[]): Promise<Partial<Record<N, Buffer>>> {
    const result: Partial<Record<N, Buffer>> = {};
    for (const name of names) {
      const value = await this.#readOne(session, object, name);
      if (value !== undefined) result[name] = value;
    }
    return result;
  }

  /** One at a time: libraries differ in what they do with the others when one is not there. */
  async #readOne(session: bigint, object: bigint, name: keyof typeof attribute): Promise<Buffer | undefined> {
    const asked = template({ [name]: new Uint8Array() }, koffi.address);
    try {
      await this.call('GetAttributeValue', [session, object, asked.bytes, 1]);
      const length = lengthAt(asked.bytes, 0);
      if (length === unavailable || length > 65_536n) return undefined;
      const value = Buffer.alloc(Number(length));
      if (value.length === 0) return value;
      const filled = template({ [name]: value }, koffi.address);
      await this.call('GetAttributeValue', [session, object, filled.bytes, 1], filled.values);
      return value;
    } catch (error) {
      if (error instanceof TokenError && /^CKR_ATTRIBUTE_(?:SENSITIVE|TYPE_INVALID)$/.test(error.returned)) return undefined;
      throw error;
    }
  }
}

/** A handle that nobody holds is collected, and the library unloaded under the hands of who calls it. */
const loaded = new Set<LibraryHandle>();

function load(path: string): LibraryHandle {
  try {
    const library = koffi.load(path);
    loaded.add(library);
    return library;
  } catch (error) {
    throw unusable(path, error instanceof Error ? error.message : String(error));
  }
}

function functionTable(path: string, library: LibraryHandle): Buffer {
  const list = Buffer.alloc(word);
  try {
    const getList = library.func('C_GetFunctionList', number, [pointer]);
    if (getList(list) !== returnValues.CKR_OK) throw unusable(path, 'C_GetFunctionList failed');
  } catch (error) {
    if (error instanceof EvercertError) throw error;
    throw unusable(path, error instanceof Error ? error.message : String(error));
  }
  const size = word * (Math.max(...Object.values(places)) + 2);
  return Buffer.from(koffi.decode(list.readBigUInt64LE(), koffi.array('uint8', size, 'Typed')));
}

function native(table: Buffer, name: Name): Native {
  const address = table.readBigUInt64LE(word * ((places[name] ?? 0) + 1));
  const type = koffi.proto(`C_${name}`, number, [...signatures[name]]);
  const callable = koffi.decode(address, type);
  return (...values) =>
    new Promise((resolve, reject) => {
      callable.async(...values, (error: Error | null, value: number | bigint) => (error ? reject(error) : resolve(Number(value))));
    });
}

function handles(bytes: Buffer, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => bytes.readBigUInt64LE(i * word));
}

function unusable(path: string, why: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `the PKCS#11 library ${path} cannot be used: ${why}; expected caKeys.pkcs11.module to be the token's library for this machine`,
    { metadata: { path } },
  );
}
