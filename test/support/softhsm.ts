/** SoftHSM2 tokens in a temporary folder: a PKCS#11 token without a device. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needTool, runOk } from './tools.ts';

const libraries = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
];

export interface SoftHsm {
  folder: string;
  module: string;
  label: string;
  pin: string;
  pinFile: string;
  environment: Record<string, string>;
  /** The section `pkcs11` of a coordinator's configuration. */
  config: Record<string, unknown>;
  dispose(): void;
}

/** For `before`: the test is skipped with one line unless SoftHSM2 is installed. */
export function needSoftHsm(context: Mocha.Context): void {
  needTool(context, 'softhsm2-util');
}

export async function makeSoftHsm(options: { sessions?: number; label?: string } = {}): Promise<SoftHsm> {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-softhsm-'));
  const tokens = join(folder, 'tokens');
  mkdirSync(tokens, { mode: 0o700 });
  const configuration = join(folder, 'softhsm2.conf');
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const environment = { SOFTHSM2_CONF: configuration };
  const [pin, label] = ['31415926', options.label ?? 'evercert'];
  await runOk('softhsm2-util', ['--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', '27182818'], { env: environment });
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
  const module = libraries.find((library) => existsSync(library)) ?? '';
  return {
    folder,
    module,
    label,
    pin,
    pinFile,
    environment,
    config: { module, token: { label }, pinFile, sessions: options.sessions ?? 4, timeout: '30s', environment, sharedKeys: 'file' },
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
