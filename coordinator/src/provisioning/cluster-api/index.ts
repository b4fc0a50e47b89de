export { type ClusterApiProvisionerConfig, clusterApiProvisionerSchema } from './config.ts';
export { createClusterApiProvisioner } from './provisioner.ts';
