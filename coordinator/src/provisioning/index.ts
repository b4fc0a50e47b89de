/** What makes and removes workers' machines: the drivers, opened from the configuration. The domain knows types.ts alone. */
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, type Fault, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { createCommandProvisioner } from './command/index.ts';
import type { ProvisionerConfig, ProvisionersConfig } from './config.ts';
import type { DriverDeps } from './driver.ts';
import { createNspawnProvisioner } from './nspawn/index.ts';
import { createProcessProvisioner } from './process/index.ts';
import { type Provisioners, provisionersOf } from './provisioners.ts';
import type { NodeProvisioner } from './types.ts';

export { type ProvisionersConfig, provisionersSchema } from './config.ts';
export { noProvisioners, type Provisioners, provisionersOf } from './provisioners.ts';
export type * from './types.ts';

/** InvalidConfig: a driver cannot be used as it is configured; every fault names its field in the configuration. Those that were opened already are closed. */
export async function openProvisioners(
  configs: ProvisionersConfig,
  deps: { clock: Clock; logger: Logger; stateDir: string },
): Promise<Provisioners> {
  const drivers = new Map<string, NodeProvisioner>();
  const faults: Fault[] = [];
  for (const [name, config] of Object.entries(configs)) {
    const own: DriverDeps = { clock: deps.clock, logger: deps.logger.child({ provisioner: name }), stateDir: join(deps.stateDir, name) };
    try {
      drivers.set(name, await open(config, own));
    } catch (error) {
      faults.push(...faultsOf(`provisioners.${name}`, error));
    }
  }
  const provisioners = provisionersOf(drivers);
  if (faults.length === 0) return provisioners;
  await provisioners.close();
  throw new EvercertError('InvalidConfig', 'a provisioner cannot be used as it is configured', { faults });
}

async function open(config: ProvisionerConfig, deps: DriverDeps): Promise<NodeProvisioner> {
  switch (config.type) {
    case 'cluster-api': {
      // The Kubernetes client is large: it costs a second at start and memory, which only those pay who use it.
      const { createClusterApiProvisioner } = await import('./cluster-api/index.ts');
      return createClusterApiProvisioner(config, deps);
    }
    case 'command':
      return createCommandProvisioner(config, deps);
    case 'nspawn':
      return createNspawnProvisioner(config, deps);
    case 'process':
      return createProcessProvisioner(config, deps);
  }
}

function faultsOf(place: string, error: unknown): Fault[] {
  const { code, faults, message } = toEvercertError(error);
  if (code !== 'InvalidConfig') throw error;
  return faults.length === 0 ? [{ field: place, message }] : faults.map((fault) => ({ ...fault, field: `${place}.${fault.field}` }));
}
