export { type ProcessProvisionerConfig, processProvisionerSchema } from './config.ts';
export { createProcessProvisioner } from './provisioner.ts';
