/** Signatures by CA keys in files and on a SoftHSM2 token, by the interface that the coordinator signs by. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { configSchema } from '@evercert/coordinator';
import { openKeyProvider } from '@evercert/coordinator/keys';
import { openSqliteStore } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { KeyAlgorithm } from '@evercert/shared/x509';

export interface KeysResult {
  place: 'file' | 'pkcs11';
  algorithm: KeyAlgorithm;
  inFlight: number;
  perSecond: number;
  /** The longest that the event loop was held up, milliseconds. */
  stallMs: number;
}

const library = '/usr/lib/softhsm/libsofthsm2.so';
const data = Buffer.alloc(600, 7);

/** Undefined: SoftHSM2 is not installed. */
export async function benchKeys(seconds: number): Promise<KeysResult[] | undefined> {
  if (!existsSync(library)) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'evercert-bench-keys-'));
  const store = await openSqliteStore({ file: ':memory:', clock: systemClock, logger: silentLogger });
  const results: KeysResult[] = [];
  try {
    for (const [place, caKeys] of [
      ['file', {}],
      ['pkcs11', { provider: 'pkcs11', pkcs11: token(folder) }],
    ] as const) {
      const config = configSchema.parse({ dataDir: join(folder, place), caKeys });
      const keys = await openKeyProvider(config, { store, clock: systemClock, logger: silentLogger, env: {} });
      try {
        for (const algorithm of ['ecdsa-p384', 'rsa-4096'] as const) {
          const signer = await keys.generate(`bench/${algorithm}`, algorithm);
          const sign = (): Promise<unknown> => signer.sign(data);
          for (const inFlight of [1, 16]) results.push({ place, algorithm, inFlight, ...(await measure(sign, inFlight, seconds)) });
        }
      } finally {
        await keys.close();
      }
    }
  } finally {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  }
  return results;
}

async function measure(sign: () => Promise<unknown>, inFlight: number, seconds: number): Promise<{ perSecond: number; stallMs: number }> {
  for (let warmUp = 0; warmUp < 20; warmUp += 1) await sign();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const start = systemClock.monotonicMs();
  let done = 0;
  const lane = async (): Promise<void> => {
    while (systemClock.monotonicMs() - start < seconds * 1000) {
      await sign();
      done += 1;
    }
  };
  delay.enable();
  await Promise.all(Array.from({ length: inFlight }, lane));
  delay.disable();
  return { perSecond: done / ((systemClock.monotonicMs() - start) / 1000), stallMs: delay.max / 1e6 };
}

/** A fresh token; the section `pkcs11` of the configuration that leads to it. */
function token(folder: string): Record<string, unknown> {
  const tokens = join(folder, 'tokens');
  mkdirSync(tokens, { mode: 0o700 });
  const configuration = join(folder, 'softhsm2.conf');
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const environment = { SOFTHSM2_CONF: configuration };
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, '31415926\n', { mode: 0o600 });
  const init = ['--init-token', '--free', '--label', 'bench', '--pin', '31415926', '--so-pin', '27182818'];
  execFileSync('softhsm2-util', init, { env: { ...process.env, ...environment }, stdio: 'ignore' });
  return { module: library, token: { label: 'bench' }, pinFile, environment, sharedKeys: 'file' };
}
