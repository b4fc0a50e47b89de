export { askToRecover, fetchStatus } from './client.ts';
export { type StatusServer, startStatusServer } from './server.ts';
export { statusTable } from './table.ts';
export { type AgentStatus, allReady, type CertificateLine } from './types.ts';
