import { isAbsolute } from 'node:path';
import { durationMs, ipRange } from '@evercert/shared/config';
import { issuers } from '@evercert/shared/manifest';
import { z } from 'zod';

const file = z.string().min(1).max(4096).refine(isAbsolute, { error: 'expected an absolute path' });

const clusterName = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'expected the name of a cluster: 1 to 63 lower-case letters, digits and hyphens',
});

const namespace = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'expected the name of a namespace: 1 to 63 lower-case letters, digits and hyphens',
});

const texts = z.array(z.string().min(1).max(317)).max(200).default([]);

/** Approves a request to a signer of Evercert's own without a person: for these requesters, if everything that it asks for fits. In texts, `*` stands for any characters but a dot. */
const approvalRule = z
  .strictObject({
    users: texts,
    groups: texts,
    commonNames: texts,
    organizations: texts,
    dnsNames: texts,
    uris: texts,
    ipRanges: z.array(ipRange()).max(200).default([]),
    usages: z
      .array(z.enum(['client auth', 'server auth']))
      .max(2)
      .default(['client auth', 'server auth']),
  })
  .refine(({ users, groups }) => users.length + groups.length > 0, {
    error: 'expected `users` or `groups`: whose requests the rule approves',
  });

/** The bridge to one cluster's API server. Nothing is done there that is not switched on here. */
export const bridgeSchema = z.strictObject({
  /** Of a user with the roles of deploy/kubernetes/bridge-rbac.yaml; read again whenever it or a file that it names changes. Default: the coordinator's own service account. */
  kubeconfig: file.optional(),
  /** For one request to the API server. */
  requestTimeout: durationMs({ min: '1s', max: '5m' }).default(15_000),
  /** Approves and signs CertificateSigningRequests. */
  signers: z.boolean().default(false),
  /** The CAs that sign as `evercert.io/CLUSTER-CA`. */
  ownSigners: z
    .array(z.enum(issuers))
    .max(issuers.length)
    .default([...issuers]),
  /** By CA, what its own signer approves without a person. Default: nothing. */
  autoApprove: z.partialRecord(z.enum(issuers), z.array(approvalRule).max(100)).default({}),
  /** How far notBefore of what is signed is set back, as kube-controller-manager does it; never more than a twelfth of the life. */
  backdate: durationMs({ min: '0s', max: '1h' }).default(300_000),
  /** Deletes requests after the times of kube-controller-manager's csrcleaner; for clusters where that does not run. */
  cleanup: z.boolean().default(false),
  /** Writes tokens that ask for it as bootstrap token Secrets, and signs cluster-info. */
  bootstrapTokens: z.boolean().default(false),
  /** Takes RenewRevocation objects from the API server. */
  revocations: z.boolean().default(false),
  /** In which namespaces they are looked for. Whoever may write there may revoke. */
  revocationNamespaces: z.array(namespace).min(1).max(20).default(['kube-system']),
});

/** By the name of the cluster. */
export const bridgesSchema = z
  .record(clusterName, bridgeSchema)
  .refine((all) => Object.keys(all).length <= 32, { error: 'expected at most 32 clusters' });

export type BridgeConfig = z.infer<typeof bridgeSchema>;
export type BridgesConfig = z.infer<typeof bridgesSchema>;
