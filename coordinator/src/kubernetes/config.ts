import { isAbsolute } from 'node:path';
import { durationMs } from '@evercert/shared/config';
import { z } from 'zod';

const file = z.string().min(1).max(4096).refine(isAbsolute, { error: 'expected an absolute path' });

const clusterName = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'expected the name of a cluster: 1 to 63 lower-case letters, digits and hyphens',
});

/** The bridge to one cluster's API server. Nothing is done there that is not switched on here. */
export const bridgeSchema = z.strictObject({
  /** Of a user with the roles of deploy/kubernetes/bridge-rbac.yaml; read again whenever it or a file that it names changes. Default: the coordinator's own service account. */
  kubeconfig: file.optional(),
  /** For one request to the API server. */
  requestTimeout: durationMs({ min: '1s', max: '5m' }).default(15_000),
  /** Approves and signs CertificateSigningRequests. */
  signers: z.boolean().default(false),
  /** Writes tokens that ask for it as bootstrap token Secrets, and signs cluster-info. */
  bootstrapTokens: z.boolean().default(false),
  /** Takes RenewRevocation objects from the API server. */
  revocations: z.boolean().default(false),
});

/** By the name of the cluster. */
export const bridgesSchema = z
  .record(clusterName, bridgeSchema)
  .refine((all) => Object.keys(all).length <= 32, { error: 'expected at most 32 clusters' });

export type BridgeConfig = z.infer<typeof bridgeSchema>;
export type BridgesConfig = z.infer<typeof bridgesSchema>;
