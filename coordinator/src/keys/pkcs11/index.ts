import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Pkcs11Config } from '../config.ts';
import type { KeyHolder } from '../types.ts';
import { TokenClient } from './client.ts';
import { Pkcs11KeyProvider } from './provider.ts';

export interface Pkcs11KeyProviderOptions {
  config: Pkcs11Config;
  credentialsDirectory: string | undefined;
  clock: Clock;
  logger: Logger;
}

/**
 * Opens the token and logs in. FailedPrecondition: the library or the token is not the right one, or the PIN is not accepted; names what the library returned.
 * Unavailable: the token is away.
 */
export async function openPkcs11KeyProvider({ config, credentialsDirectory, clock, logger }: Pkcs11KeyProviderOptions): Promise<KeyHolder> {
  const { module, token: wanted, sessions, timeout, environment } = config;
  const pinFile = config.pinFile ?? (credentialsDirectory && join(credentialsDirectory, 'ca-pin'));
  if (!pinFile)
    throw new EvercertError(
      'FailedPrecondition',
      'there is no PIN for the token: set caKeys.pkcs11.pinFile, or give systemd a credential ca-pin',
    );
  const open = { type: 'open' as const, module, token: wanted, pinFile, credentialsDirectory, sessions };
  const token = new TokenClient({ open, environment, timeoutMs: timeout * 1000, clock, logger });
  const provider = new Pkcs11KeyProvider({ token, logger });
  try {
    await provider.list();
  } catch (error) {
    await provider.close();
    throw error;
  }
  return provider;
}
