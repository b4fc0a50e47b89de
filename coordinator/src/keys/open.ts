import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Store } from '../store/index.ts';
import type { CaKeysConfig } from './config.ts';
import { openFileKeyProvider } from './file/provider.ts';
import { SeveralKeyProviders } from './several.ts';
import { KekRing, readKek } from './store/kek.ts';
import { openStoreKeyProvider } from './store/provider.ts';
import type { KeyHolder, KeyProvider, KeyProviderKind } from './types.ts';

export interface KeyLocation {
  caKeys: CaKeysConfig;
  /** Keys in files lie in its folder `keys`. */
  dataDir: string;
}

export interface KeyDependencies {
  /** Open already; kept open until the provider is closed. */
  store: Store;
  clock: Clock;
  logger: Logger;
  /** For systemd's CREDENTIALS_DIRECTORY. */
  env: NodeJS.ProcessEnv;
  /** True: other processes use the same files now (a command beside a running coordinator). Nothing is tidied up then. */
  beside?: boolean;
}

/**
 * Opens the provider that a configuration names, with what it needs beside it.
 * FailedPrecondition: a passphrase, key-encryption key or PIN is missing or wrong, or keys would be where the store's other coordinators cannot reach them. Unavailable: the token is away.
 */
export async function openKeyProvider(config: KeyLocation, dependencies: KeyDependencies): Promise<KeyProvider> {
  checkKeySharing(config.caKeys, dependencies.store);
  const holders = new KeyHolders(config, { ...dependencies, store: async () => dependencies.store });
  try {
    const main = await holders.open(config.caKeys.provider);
    const shared = await holders.open(sharedKindOf(config.caKeys, dependencies));
    const also: KeyHolder[] = [];
    for (const kind of config.caKeys.also) also.push(await holders.open(kind));
    const alone = shared === main && also.every((place) => place === main);
    return alone ? main : new SeveralKeyProviders({ main, shared, also });
  } catch (error) {
    await holders.close();
    throw error;
  }
}

/** FailedPrecondition: several coordinators could have this store, and the keys would be at one of them. */
export function checkKeySharing(caKeys: CaKeysConfig, store: Pick<Store, 'shared'>): void {
  if (!store.shared || caKeys.file.shared) return;
  const inFiles = caKeys.provider === 'file' || (caKeys.provider === 'pkcs11' && caKeys.pkcs11?.sharedKeys === 'file');
  if (!inFiles) return;
  throw new EvercertError(
    'FailedPrecondition',
    'the store is shared by several coordinators, but CA keys would lie in files of this one, where the others cannot sign with them; ' +
      'use caKeys.provider: store (or pkcs11), or set caKeys.file.shared: true if every coordinator sees the same folder dataDir/keys',
  );
}

/** The store is asked for only when keys are in it: a command can look at files beside a coordinator that has the store for itself. */
export type HolderDependencies = Omit<KeyDependencies, 'store'> & { store: () => Promise<Store> };

/** Opens places of keys, each once. */
export class KeyHolders {
  readonly #config: KeyLocation;
  readonly #dependencies: HolderDependencies;
  readonly #open = new Map<KeyProviderKind, KeyHolder>();

  constructor(config: KeyLocation, dependencies: HolderDependencies) {
    this.#config = config;
    this.#dependencies = dependencies;
  }

  async open(kind: KeyProviderKind): Promise<KeyHolder> {
    const known = this.#open.get(kind);
    if (known !== undefined) return known;
    const holder = await this.#openOne(kind);
    this.#open.set(kind, holder);
    return holder;
  }

  async close(): Promise<void> {
    for (const holder of this.#open.values()) await holder.close();
    this.#open.clear();
  }

  async #openOne(kind: KeyProviderKind): Promise<KeyHolder> {
    const { caKeys, dataDir } = this.#config;
    const { store, clock, logger, env, beside = false } = this.#dependencies;
    const credentialsDirectory = env['CREDENTIALS_DIRECTORY'];
    if (kind === 'file') {
      const directory = join(dataDir, 'keys');
      const shared = caKeys.file.shared || beside;
      return openFileKeyProvider({ directory, ...passphraseOf(this.#config, env), credentialsDirectory, shared, logger });
    }
    if (kind === 'store') {
      const keks = await openKeks(caKeys, env);
      return openStoreKeyProvider({ store: await store(), keks, clock, logger });
    }
    if (caKeys.pkcs11 === undefined) throw new EvercertError('InvalidConfig', 'caKeys.pkcs11 is missing; expected module and token there');
    // Who has no token does not load what speaks to one.
    const { openPkcs11KeyProvider } = await import('./pkcs11/index.ts');
    return openPkcs11KeyProvider({ config: caKeys.pkcs11, credentialsDirectory, clock, logger });
  }
}

/** The key-encryption keys that the configuration names. FailedPrecondition: none, or one that is not understood. */
export async function openKeks(caKeys: CaKeysConfig, env: NodeJS.ProcessEnv): Promise<KekRing> {
  const path = kekFileOf(caKeys, env);
  if (path === undefined) {
    throw new EvercertError(
      'FailedPrecondition',
      'there is no key-encryption key for keys in the store: set caKeys.store.kekFile, or give systemd a credential ca-kek; `openssl rand -base64 32` makes one',
    );
  }
  const credentialsDirectory = env['CREDENTIALS_DIRECTORY'];
  const others = [...caKeys.store.otherKekFiles, ...[credential(env, 'ca-kek-other')].filter((given) => given !== undefined)];
  return new KekRing(
    await readKek(path, credentialsDirectory),
    await Promise.all(others.map((other) => readKek(other, credentialsDirectory))),
  );
}

/** Where keys are that nodes are to have. */
export function sharedKindOf(caKeys: CaKeysConfig, { store, env }: Pick<KeyDependencies, 'store' | 'env'>): KeyProviderKind {
  if (caKeys.provider !== 'pkcs11') return caKeys.provider;
  return caKeys.pkcs11?.sharedKeys ?? (store.shared || kekFileOf(caKeys, env) !== undefined ? 'store' : 'file');
}

export function kekFileOf(caKeys: CaKeysConfig, env: NodeJS.ProcessEnv): string | undefined {
  return caKeys.store.kekFile ?? credential(env, 'ca-kek');
}

/** Where the files of keys are, with what opens them. */
export function keyFilesOf(
  config: KeyLocation,
  env: NodeJS.ProcessEnv,
): { directory: string; passphraseFile: string; credentialsDirectory: string | undefined } {
  const { passphraseFile } = passphraseOf(config, env);
  return { directory: join(config.dataDir, 'keys'), passphraseFile, credentialsDirectory: env['CREDENTIALS_DIRECTORY'] };
}

/** Where systemd passes a passphrase as a credential, that one counts and is never made here. */
function passphraseOf({ caKeys, dataDir }: KeyLocation, env: NodeJS.ProcessEnv): { passphraseFile: string; createPassphrase: boolean } {
  const given = caKeys.file.passphraseFile ?? caKeys.passphraseFile ?? credential(env, 'ca-passphrase');
  if (given !== undefined) return { passphraseFile: given, createPassphrase: false };
  return { passphraseFile: join(dataDir, 'ca-passphrase'), createPassphrase: true };
}

function credential(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const path = env['CREDENTIALS_DIRECTORY'] && join(env['CREDENTIALS_DIRECTORY'], name);
  return path && existsSync(path) ? path : undefined;
}
