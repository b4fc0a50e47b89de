import { EvercertError } from '@evercert/shared/errors';
import type { KeyAlgorithm } from '@evercert/shared/x509';
import { isKeyId, takenId } from '../ids.ts';
import { readPrivateFile, refusedFile } from '../private-file.ts';
import { type Attributes, keyType, mechanism, mechanismOf, objectClass } from './attributes.ts';
import { curves, ecPublicKey, rsaPublicKey } from './key-parts.ts';
import { type PairHandles, Pkcs11Library } from './library.ts';
import type { OpenCall, PrivateParts, SignCall } from './protocol.ts';
import { returned } from './return-values.ts';
import { Sessions } from './sessions.ts';

const user = 1;
const maxKeys = 10_000;
const maxSignatureBytes = 1024;
/** CKF_TOKEN_INITIALIZED, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED. */
const flags = { initialized: 0x400, finalTry: 0x20000, locked: 0x40000 };
const pinFileText = 'the PIN file';

interface Key {
  handle: bigint;
  spki: Buffer;
}

/** The keys on one token, logged in. Labels and ids of objects are the keys' ids; what has others is somebody else's. */
export class Token {
  readonly label: string;
  readonly serial: string;
  readonly #library: Pkcs11Library;
  readonly #sessions: Sessions;
  /** Looks and changes go through this one, one after another; it also keeps the login. */
  readonly #control: bigint;
  readonly #keys = new Map<string, Key>();
  #turn: Promise<unknown> = Promise.resolve();

  /** FailedPrecondition: no such token, or the PIN is not accepted. A TokenError: anything else. */
  static async open({ module, token, pinFile, credentialsDirectory, sessions }: OpenCall): Promise<Token> {
    const library = new Pkcs11Library(module);
    await library.initialize();
    const found = await findToken(library, token);
    const pool = new Sessions(library, found.slot, sessions);
    const control = await pool.open();
    await login(library, control, found, pinFile, credentialsDirectory);
    return new Token(library, pool, control, found);
  }

  private constructor(library: Pkcs11Library, sessions: Sessions, control: bigint, { label, serial }: Found) {
    this.#library = library;
    this.#sessions = sessions;
    this.#control = control;
    this.label = label;
    this.serial = serial;
  }

  list(): Promise<string[]> {
    return this.#inTurn(async () => {
      const ids: string[] = [];
      for (const handle of await this.#library.find(this.#control, { class: objectClass.privateKey, token: true }, maxKeys)) {
        const { label, id } = await this.#library.read(this.#control, handle, ['label', 'id']);
        if (label && id && label.equals(id) && isKeyId(label.toString())) ids.push(label.toString());
      }
      return ids.sort();
    });
  }

  async find(id: string): Promise<Buffer | undefined> {
    return (await this.#inTurn(() => this.#find(id)))?.spki;
  }

  generate(id: string, algorithm: KeyAlgorithm): Promise<Buffer> {
    return this.#inTurn(async () => {
      await this.#clearWay(id);
      const names = namesOf(id);
      const curve = algorithm === 'ecdsa-p256' || algorithm === 'ecdsa-p384' ? curves[algorithm] : undefined;
      const bits = algorithm === 'rsa-4096' ? 4096 : 3072;
      const [making, publicKey, limits]: [number, Attributes, Attributes] = curve
        ? [mechanism.ecKeyPairGen, { ecParams: curve }, {}]
        : [mechanism.rsaKeyPairGen, { modulusBits: bits, publicExponent: Buffer.of(1, 0, 1), encrypt: false, wrap: false }, noDecryption];
      const made = await this.#library.generatePair(
        this.#control,
        mechanismOf(making),
        { ...names, token: true, verify: true, ...publicKey },
        { ...names, ...guarded, ...limits },
      );
      return this.#accept(id, made);
    });
  }

  import(id: string, { keyType: kind, ...parts }: PrivateParts): Promise<Buffer> {
    return this.#inTurn(async () => {
      await this.#clearWay(id);
      const names = { ...namesOf(id), keyType: keyType[kind] };
      // The private key last: the key is there when it is.
      const open = 'ecPoint' in parts ? pick(parts, ['ecParams', 'ecPoint']) : pick(parts, ['modulus', 'publicExponent']);
      const create = (attributes: Attributes): Promise<bigint> => this.#library.create(this.#control, attributes);
      const publicKey = await create({ class: objectClass.publicKey, ...names, token: true, verify: true, ...open });
      const secret = 'ecPoint' in parts ? pick(parts, ['ecParams', 'value']) : { ...noDecryption, ...parts };
      const privateKey = await create({ class: objectClass.privateKey, ...names, ...guarded, ...secret });
      return this.#accept(id, { publicKey, privateKey });
    });
  }

  /** Undefined: there is no such key any more. */
  async sign({ key: id, spki, keyType: kind, data }: SignCall): Promise<Buffer | undefined> {
    const how = kind === 'ec' ? mechanism.ecdsa : mechanism.rsaPkcs;
    const sign = async (key: Key | undefined): Promise<Buffer | undefined> =>
      key?.spki.equals(spki) ? this.#sessions.sign(key.handle, how, data, maxSignatureBytes) : undefined;
    const known = this.#keys.get(id);
    try {
      if (known?.spki.equals(spki)) return await sign(known);
    } catch (error) {
      if (!returned(error, 'CKR_KEY_HANDLE_INVALID', 'CKR_OBJECT_HANDLE_INVALID')) throw error;
    }
    // Not looked for so far, or somebody else has deleted it or made it anew.
    return sign(await this.#inTurn(() => this.#find(id)));
  }

  delete(id: string): Promise<boolean> {
    return this.#inTurn(async () => {
      this.#keys.delete(id);
      const handles = await this.#handles(id, 'privateKey', maxKeys);
      await this.#destroy([...handles, ...(await this.#handles(id, 'publicKey', maxKeys))]);
      return handles.length > 0;
    });
  }

  async close(): Promise<void> {
    await this.#library.call('Finalize', [null]);
  }

  async #find(id: string): Promise<Key | undefined> {
    this.#keys.delete(id);
    const [privateKey] = await this.#handles(id, 'privateKey', 1);
    if (privateKey === undefined) return undefined;
    const [publicKey] = await this.#handles(id, 'publicKey', 1);
    return this.#keep(id, { privateKey, publicKey });
  }

  async #keep(id: string, { privateKey, publicKey }: { privateKey: bigint; publicKey: bigint | undefined }): Promise<Key> {
    const names = ['ecParams', 'ecPoint', 'modulus', 'publicExponent'] as const;
    const own = await this.#library.read(this.#control, privateKey, names);
    const told = { ...own, ...(publicKey !== undefined && (await this.#library.read(this.#control, publicKey, names))) };
    const key = { handle: privateKey, spki: spkiOf(id, told) };
    this.#keys.set(id, key);
    return key;
  }

  /** What was made is kept if the token keeps it to itself, and if no other process has made a key of this id at the same time. */
  async #accept(id: string, made: PairHandles): Promise<Buffer> {
    const { extractable, sensitive } = await this.#library.read(this.#control, made.privateKey, ['extractable', 'sensitive']);
    const isOpen = extractable?.[0] !== 0 || sensitive?.[0] !== 1;
    const isAlone = (await this.#handles(id, 'privateKey', 2)).length === 1;
    if (!isOpen && isAlone) return (await this.#keep(id, made)).spki;
    await this.#destroy([made.privateKey, made.publicKey]);
    if (!isAlone) throw takenId(id);
    const text = `the token does not keep the key ${id} to itself (CKA_SENSITIVE, CKA_EXTRACTABLE): it was destroyed again`;
    throw new EvercertError('FailedPrecondition', text);
  }

  /** AlreadyExists: the id is taken. A public key alone is what an interrupted import left. */
  async #clearWay(id: string): Promise<void> {
    if ((await this.#handles(id, 'privateKey', 1)).length > 0) throw takenId(id);
    await this.#destroy(await this.#handles(id, 'publicKey', maxKeys));
  }

  #handles(id: string, kind: keyof typeof objectClass, limit: number): Promise<bigint[]> {
    return this.#library.find(this.#control, { class: objectClass[kind], token: true, ...namesOf(id) }, limit);
  }

  async #destroy(handles: readonly bigint[]): Promise<void> {
    for (const handle of handles) {
      try {
        await this.#library.call('DestroyObject', [this.#control, handle]);
      } catch (error) {
        if (!returned(error, 'CKR_OBJECT_HANDLE_INVALID')) throw error;
      }
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

const guarded: Attributes = { token: true, private: true, sensitive: true, extractable: false, sign: true };
const noDecryption: Attributes = { decrypt: false, unwrap: false };

function spkiOf(id: string, { ecParams, ecPoint, modulus, publicExponent }: Partial<Record<string, Buffer>>): Buffer {
  if (modulus && publicExponent) return rsaPublicKey(modulus, publicExponent);
  if (ecParams && ecPoint) return ecPublicKey(ecParams, ecPoint);
  const text = `the token does not tell the public key of ${id}: expected a public key object with the same label and id beside it`;
  throw new EvercertError('DataLoss', text);
}

function namesOf(id: string): Attributes {
  return { label: id, id };
}

function pick<T extends object, N extends keyof T>(from: T, names: readonly N[]): Pick<T, N> {
  return Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<T, N>;
}

interface Found {
  slot: bigint;
  label: string;
  serial: string;
  flags: number;
}

async function findToken(library: Pkcs11Library, wanted: OpenCall['token']): Promise<Found> {
  const present: Found[] = [];
  for (const slot of await library.slots()) {
    // CK_TOKEN_INFO: label 32 bytes, manufacturer 32, model 16, serial number 16, then the flags.
    const info = Buffer.alloc(256);
    await library.call('GetTokenInfo', [slot, info]);
    const text = (from: number, to: number): string => info.toString('utf8', from, to).trimEnd();
    present.push({ slot, label: text(0, 32), serial: text(80, 96), flags: Number(info.readBigUInt64LE(96) & 0xffff_ffffn) });
  }
  const fits = present.filter(
    ({ slot, label, serial }) =>
      (wanted.label === undefined || label === wanted.label) &&
      (wanted.serial === undefined || serial === wanted.serial) &&
      (wanted.slot === undefined || slot === BigInt(wanted.slot)),
  );
  const names = present.map(({ slot, label, serial }) => `slot ${slot} label "${label}" serial ${serial}`).join('; ') || 'no token at all';
  if (fits.length > 1)
    throw new EvercertError('FailedPrecondition', `several tokens fit caKeys.pkcs11.token; there are: ${names}; name one by its serial`);
  const [found] = fits;
  if (found === undefined)
    throw new EvercertError('Unavailable', `the token that caKeys.pkcs11.token names is not there; there is: ${names}`);
  if ((found.flags & flags.initialized) === 0)
    throw new EvercertError('FailedPrecondition', `the token "${found.label}" is not initialized`);
  return found;
}

async function login(
  library: Pkcs11Library,
  session: bigint,
  found: Found,
  pinFile: string,
  credentialsDirectory: string | undefined,
): Promise<void> {
  if ((found.flags & flags.locked) !== 0)
    throw new EvercertError(
      'FailedPrecondition',
      `the user PIN of the token "${found.label}" is locked; unlock it with its security officer's PIN`,
    );
  if ((found.flags & flags.finalTry) !== 0) {
    const text = `one more wrong PIN locks the token "${found.label}": nothing is tried; log in by hand once, as with pkcs11-tool --login --list-objects, and put the right PIN into ${pinFile}`;
    throw new EvercertError('FailedPrecondition', text);
  }
  const pin = await readPrivateFile(pinFile, { what: pinFileText, maxBytes: 256, credentialsDirectory });
  if (pin === undefined || pin.length === 0)
    throw refusedFile(pinFile, pinFileText, 'is missing or empty; expected the user PIN of the token');
  try {
    await library.call('Login', [session, user, pin, pin.length]);
  } catch (error) {
    if (returned(error, 'CKR_USER_ALREADY_LOGGED_IN')) return;
    if (
      !returned(
        error,
        'CKR_PIN_INCORRECT',
        'CKR_PIN_INVALID',
        'CKR_PIN_LEN_RANGE',
        'CKR_PIN_EXPIRED',
        'CKR_PIN_LOCKED',
        'CKR_USER_PIN_NOT_INITIALIZED',
      )
    )
      throw error;
    const said = error instanceof Error ? error.message : '';
    const text = `the token "${found.label}" does not accept the PIN in ${pinFile} (${said}); put the right one there before the token locks itself`;
    throw new EvercertError('FailedPrecondition', text, { cause: error });
  } finally {
    pin.fill(0);
  }
}
