import { EvercertError, type Fault } from '@evercert/shared/errors';
import type { DriverDeps } from '../driver.ts';
import type { NodeProvisioner } from '../types.ts';
import type { CommandProvisionerConfig } from './config.ts';
import { CommandProvisioner, stepOf } from './driver.ts';
import { RunNotes } from './notes.ts';
import { programFault } from './programs.ts';
import { commandActions } from './protocol.ts';

export { type CommandProvisionerConfig, commandProvisionerSchema } from './config.ts';

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** InvalidConfig, with every fault: an executable is missing, cannot be run or could be changed by others; the folder for notes cannot be made. */
export async function createCommandProvisioner(config: CommandProvisionerConfig, deps: DriverDeps): Promise<NodeProvisioner> {
  const { clock, logger } = deps;
  const faults = await programFaults(config);
  if (faults.length > 0) throw new EvercertError('InvalidConfig', 'executables of the provisioner cannot be used', { faults });
  const folder = config.stateDir ?? deps.stateDir;
  const notes = await RunNotes.open(folder, clock).catch((cause: Error) => {
    const message = `the folder ${folder} cannot be used: ${cause.message}; name one that this user may make and write to`;
    throw new EvercertError('InvalidConfig', message, { cause, faults: [{ field: 'stateDir', message }] });
  });
  const missing = config.env.filter((name) => process.env[name] === undefined);
  if (missing.length > 0) logger.warn('variables that executables are to get are not set', { variables: missing.join(', ') });
  return new CommandProvisioner({ config, notes, env: environment(config), clock, logger });
}

async function programFaults(config: CommandProvisionerConfig): Promise<Fault[]> {
  const faults: Fault[] = [];
  for (const name of commandActions.filter((step) => config[step] !== undefined)) {
    const message = await programFault(stepOf(config, name)!.argv[0]);
    if (message !== undefined) faults.push({ field: typeof config[name] === 'string' ? name : `${name}.command[0]`, message });
  }
  return faults;
}

/** Nothing of the coordinator's own environment but what is named, and where programs are. */
function environment(config: CommandProvisionerConfig): NodeJS.ProcessEnv {
  const named = config.env.map((name) => [name, process.env[name]] as const).filter(([, value]) => value !== undefined);
  return { PATH: process.env['PATH'] || defaultPath, LANG: 'C.UTF-8', ...Object.fromEntries(named) };
}
