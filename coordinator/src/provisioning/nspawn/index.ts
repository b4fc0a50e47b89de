export { type NspawnProvisionerConfig, nspawnProvisionerSchema } from './config.ts';
export { Journal } from './journal.ts';
export { hostName, machineName } from './names.ts';
export { createNspawnProvisioner } from './provisioner.ts';
