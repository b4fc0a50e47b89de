import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import { readConfigFile, toCommentedYaml } from '@evercert/shared/config';
import { describeError, EvercertError, toEvercertError } from '@evercert/shared/errors';
import { createLogger, type Logger } from '@evercert/shared/logging';
import { createSystemdNotifier } from '@evercert/shared/systemd';
import { version } from '@evercert/shared/version';
import { Command, CommanderError } from 'commander';
import { addBackupCommands } from './backup-command.ts';
import { type CoordinatorConfig, configSchema } from './config.ts';
import { startCoordinator } from './coordinator.ts';
import { emergencyFolder, recordEmergencies } from './emergency/index.ts';
import { addEmergencyCommand } from './emergency-command.ts';
import { openKeyProvider } from './keys/index.ts';
import { addKeysCommand } from './keys-command.ts';
import { addMachineCommand } from './machine-command.ts';
import { guardMemory } from './memory-guard.ts';
import { openProvisioners } from './provisioning/index.ts';
import { resetClockMark } from './recovery/index.ts';
import { openStore } from './store/index.ts';
import { addStoreCommand } from './store-command.ts';

const program = new Command('evercert-coordinator')
  .description("Holds the CAs of clusters and issues their nodes' certificates")
  .version(version)
  .exitOverride()
  .option('--config <file>', 'configuration file (YAML)', '/etc/evercert/coordinator.yaml')
  .option('--print-config', 'print the configuration with every default, and exit')
  .action(async ({ config: file, printConfig }: { config: string; printConfig?: boolean }) => {
    const config = printConfig && !existsSync(file) ? configSchema.parse({}) : readConfigFile(configSchema, file);
    if (printConfig) process.stdout.write(toCommentedYaml(config, configSchema));
    else await run(config);
  });

program
  .command('reset-clock-mark')
  .description('Forget the latest time that this coordinator has seen, after its clock was wrong; to be run while it is stopped')
  .action(async (_options: object, command: Command) => {
    const { config: file } = command.optsWithGlobals<{ config: string }>();
    const config = readConfigFile(configSchema, file);
    const logger = createLogger({ ...config.log, component: 'coordinator' });
    const store = await openStore(config, { clock: systemClock, logger });
    try {
      const before = await resetClockMark(store, systemClock);
      const was = before === undefined ? 'nothing' : new Date(before).toISOString();
      process.stdout.write(`The latest time seen was ${was}; it is ${new Date(systemClock.nowMs()).toISOString()} now.\n`);
    } finally {
      await store.close();
    }
  });

addMachineCommand(program, { clock: systemClock, stdin: process.stdin });
addEmergencyCommand(program, { clock: systemClock, env: process.env, stdout: process.stdout });
addKeysCommand(program, { clock: systemClock, env: process.env, stdout: process.stdout });
addBackupCommands(program, { clock: systemClock, random: Math.random, env: process.env, stdout: process.stdout, stderr: process.stderr });
addStoreCommand(program, { clock: systemClock, random: Math.random, stdout: process.stdout, stderr: process.stderr });

async function run(config: CoordinatorConfig): Promise<void> {
  const logger = createLogger({ ...config.log, component: 'coordinator' });
  const systemd = createSystemdNotifier({ env: process.env, clock: systemClock, logger });
  crashOnSurprise(logger);
  await guardMemory({ execArgv: process.execArgv, env: process.env, logger });
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const stateDir = join(config.dataDir, 'provisioning');
  const provisioners = await openProvisioners(config.provisioners, { clock: systemClock, logger, stateDir });
  const store = await openStore(config, { clock: systemClock, logger });
  const keys = await openKeyProvider(config, { store, clock: systemClock, logger, env: process.env });
  await recordEmergencies(emergencyFolder(config.dataDir), { store, clock: systemClock, logger });
  const coordinator = await startCoordinator({ config, store, keys, provisioners, clock: systemClock, logger });
  const stopWatchdog = systemd.startWatchdog(() => true);

  const stop = async (signal: string): Promise<void> => {
    logger.info('stopping', { signal });
    stopWatchdog();
    await systemd.stopping();
    await coordinator.stop();
    await provisioners.close();
    logger.info('stopped');
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stop(signal).then(() => process.exit(0), fail);
    });
  }
  await systemd.ready(`serving on ${coordinator.address}`);
}

/** A state that nobody foresaw is not served from: the supervisor starts afresh from the store. */
function crashOnSurprise(logger: Logger): void {
  const crash = (error: unknown): void => {
    logger.error('unexpected failure', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    process.exitCode = 1;
    setImmediate(() => process.exit(1));
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
}

function fail(error: unknown): never {
  // Commander has said it already.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exit(error instanceof EvercertError ? error.exitCode : toEvercertError(error).exitCode);
}

program.parseAsync().catch(fail);
