import { durationSeconds } from '@evercert/shared/config';
import { z } from 'zod';
import { keyProviderKinds } from './types.ts';

const file = z.string().min(1);

const token = z
  .strictObject({
    label: z.string().min(1).max(32).optional(),
    serial: z.string().min(1).max(16).optional(),
    slot: z.int().min(0).optional(),
  })
  .refine((given) => Object.values(given).some((value) => value !== undefined), {
    error: 'expected at least one of label, serial and slot',
  });

const pkcs11 = z.strictObject({
  /** The token's PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so. */
  module: file,
  /** Which token: all that is given must fit. */
  token,
  /** The user PIN. Default: $CREDENTIALS_DIRECTORY/ca-pin. */
  pinFile: file.optional(),
  /** Signatures under way at the token at a time. */
  sessions: z.int().min(1).max(64).default(4),
  /** How long one answer of the token may take; making a key may take ten times that. */
  timeout: durationSeconds({ min: '1s', max: '10m' }).default(30),
  /** Environment variables for the library, such as SOFTHSM2_CONF; it sees PATH and these, and nothing else. */
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  /** Where the keys are that nodes are to have (service accounts), since nothing leaves a token. Default: store where a key-encryption key is given, else file. */
  sharedKeys: z.enum(['file', 'store']).optional(),
});

/** Where the private keys of the CAs are. */
export const caKeysSchema = z
  .strictObject({
    /** In encrypted files in dataDir; encrypted in the store, for all coordinators; on a PKCS#11 token. */
    provider: z.enum(keyProviderKinds).default('file'),
    /** Where keys are found as well, while they move: see `evercert-coordinator keys move`. */
    also: z.array(z.enum(keyProviderKinds)).max(2).default([]),
    /** The older place of file.passphraseFile. */
    passphraseFile: file.optional(),
    file: z
      .strictObject({
        /** Opens the files. Default: $CREDENTIALS_DIRECTORY/ca-passphrase where systemd gives one, else a file made in dataDir. */
        passphraseFile: file.optional(),
        /** True: all coordinators of a shared store see the same folder, dataDir/keys. */
        shared: z.boolean().default(false),
      })
      .prefault({}),
    store: z
      .strictObject({
        /** 32 random bytes in base64, by which keys are encrypted. Default: $CREDENTIALS_DIRECTORY/ca-kek. */
        kekFile: file.optional(),
        /** More of them under which keys may be, while `evercert-coordinator keys rotate-kek` replaces one by another. */
        otherKekFiles: z.array(file).max(8).default([]),
      })
      .prefault({}),
    pkcs11: pkcs11.optional(),
  })
  .refine((keys) => keys.passphraseFile === undefined || keys.file.passphraseFile === undefined, {
    error: 'expected passphraseFile or file.passphraseFile, not both',
  })
  .refine((keys) => keys.pkcs11 !== undefined || (keys.provider !== 'pkcs11' && !keys.also.includes('pkcs11')), {
    error: 'expected a section pkcs11 with module and token',
  })
  .prefault({});

export type CaKeysConfig = z.infer<typeof caKeysSchema>;
export type Pkcs11Config = z.infer<typeof pkcs11>;
