import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { readConfigFile, tryParseDuration } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { createLogger } from '@evercert/shared/logging';
import { certificatesToPem } from '@evercert/shared/x509';
import type { Command } from 'commander';
import { type CoordinatorConfig, configSchema } from './config.ts';
import {
  type EmergencySigning,
  emergencyFolder,
  mirrorFile,
  noteEmergency,
  openMirrored,
  readMirror,
  signEmergency,
} from './emergency/index.ts';
import { openKeyProvider } from './keys/index.ts';

export interface EmergencyCommandContext {
  clock: Clock;
  env: NodeJS.ProcessEnv;
  stdout: { write(text: string): unknown };
}

interface Options {
  cluster: string;
  node: string;
  out: string;
  certificate?: string[];
  lifetime: string;
  mirror?: string;
}

const help = `
For the day when etcd, which holds this coordinator's state, does not come up because its own certificates have expired. The coordinator's last known state, which it keeps in dataDir,
says what the node's manifests declare and which keys the node has; the CA keys are where the configuration says. The new certificates are for those same keys: no private key is made
or moved. They lie under DIR at the paths at which the node has them; copy them there over the old ones ("cp -r DIR/. /" on the node), and start etcd. What was signed is noted in
dataDir and told to the store when the coordinator starts again.

Example:
  evercert-coordinator emergency-certificates --cluster demo --node cp-1 --out /root/cp-1`;

/** Adds `emergency-certificates`. */
export function addEmergencyCommand(program: Command, context: EmergencyCommandContext): void {
  program
    .command('emergency-certificates')
    .description("Sign a control-plane node's certificates while the store cannot be reached, for the keys that the node has")
    .requiredOption('--cluster <name>', "the node's cluster")
    .requiredOption('--node <name>', 'the node')
    .requiredOption('--out <dir>', 'folder for the certificates')
    .option('--certificate <name...>', 'only these; default: all that lie in files of their own')
    .option('--lifetime <duration>', 'their life; they are renewed as soon as the coordinator serves again', '24h')
    .option('--mirror <file>', "last known state, another coordinator's for instance; default: that in dataDir")
    .addHelpText('after', help)
    .action(async (options: Options, command: Command) => {
      const { config } = command.optsWithGlobals<{ config: string }>();
      await run(options, readConfigFile(configSchema, config), context);
    });
}

async function run(options: Options, config: CoordinatorConfig, { clock, env, stdout }: EmergencyCommandContext): Promise<void> {
  const lifetimeSeconds = Math.floor((tryParseDuration(options.lifetime) ?? 0) / 1000);
  if (lifetimeSeconds < 1) throw new EvercertError('InvalidArgument', `--lifetime ${options.lifetime}: expected a duration such as 24h`);
  const logger = createLogger({ ...config.log, component: 'coordinator' });
  const file = options.mirror ?? mirrorFile(config.dataDir);
  const mirror = await readMirror(file);
  if (mirror === undefined) {
    throw new EvercertError(
      'NotFound',
      `there is no last known state at ${file}: coordinators keep one when they share an etcd; name another one's with --mirror`,
    );
  }
  const store = await openMirrored(mirror, { clock, logger });
  const keys = await openKeyProvider(config, { store, clock, logger, env, beside: true });
  try {
    const order = { cluster: options.cluster, node: options.node, names: options.certificate ?? [], lifetimeSeconds };
    const signing = await signEmergency(order, { store, keys, clock, logger, backdateMs: config.backdate * 1000 });
    await noteEmergency(
      emergencyFolder(config.dataDir),
      signing.certificates.map(({ record }) => record),
    );
    await writeOut(options.out, signing);
    stdout.write(`By the state of ${new Date(mirror.writtenAtMs).toISOString()} (${mirror.store}):\n${told(signing, options.out)}`);
  } finally {
    await keys.close();
    await store.close();
  }
}

async function writeOut(folder: string, { certificates }: EmergencySigning): Promise<void> {
  for (const { chain, paths } of certificates) {
    for (const path of paths) {
      const target = join(folder, path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, certificatesToPem(chain), { mode: 0o644 });
    }
  }
}

function told({ certificates, skipped }: EmergencySigning, folder: string): string {
  const lines = [
    ...certificates.map(
      ({ record, paths }) =>
        `  ${record.name}: ${paths.join(', ')} until ${new Date(record.notAfterMs).toISOString()}, serial ${record.serial}`,
    ),
    ...skipped.map(({ name, why }) => `  ${name}: left out, ${why}`),
    certificates.length === 0
      ? 'Nothing was signed.'
      : `Copy them to the node, over the old ones: cp -r ${folder}/. / there. Then start etcd, and the coordinators after it.`,
  ];
  return `${lines.join('\n')}\n`;
}
