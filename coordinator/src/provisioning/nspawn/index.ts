export { type NspawnProvisionerConfig, nspawnProvisionerSchema } from './config.ts';
export { machineName } from './names.ts';
export { createNspawnProvisioner } from './provisioner.ts';
