import { isAbsolute } from 'node:path';
import { durationMs, durationSeconds } from '@evercert/shared/config';
import { z } from 'zod';

const file = z.string().min(1).max(4096).refine(isAbsolute, { error: 'expected an absolute path' });

/** RFC 1123, as Kubernetes names objects. */
const objectName = z.string().regex(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/, {
  error: 'expected a name of 1 to 63 lower-case letters, digits and hyphens',
});

const strings = z.record(z.string().min(1).max(317), z.string().max(4096)).default({});

/**
 * An existing engine for fleets: the worker's Machine object is deleted, its MachineSet makes another, and that one gets what it needs to join through its bootstrap data Secret.
 * See https://cluster-api.sigs.k8s.io/developer/providers/contracts/bootstrap-config.
 */
export const clusterApiProvisionerSchema = z.strictObject({
  type: z.literal('cluster-api'),
  /** Of the management cluster, in which the Machines are; read again for every action. Default: the coordinator's own service account in the cluster in which it runs. */
  kubeconfig: file.optional(),
  /** Of the cluster whose nodes the Machines are, for cordon and drain. Default: the management cluster is that cluster. */
  workloadKubeconfig: file.optional(),
  /** Namespace of the Machines. */
  namespace: objectName,
  /** Name of the Cluster object, where its namespace holds several. */
  clusterName: objectName.optional(),
  /** Of `cluster.x-k8s.io`. */
  apiVersion: z.enum(['v1beta1', 'v1beta2']).default('v1beta1'),
  /** What a new machine gets besides its token. */
  bootstrap: z
    .strictObject({
      secretTemplate: z
        .strictObject({
          labels: strings,
          annotations: strings,
          /** A cloud-config document; what the agent needs is added to its `write_files` and `runcmd`. Read again for every machine. */
          cloudConfigFile: file.optional(),
        })
        .prefault({}),
      /** Folder of the agent's configuration on the new machine. */
      agentFolder: file.default('/etc/evercert-agent'),
      /** Has cloud-init fill in what it knows of the machine (`{{ ds.meta_data.local_ipv4 }}`), as the cloud-configs of Cluster API's kubeadm provider have it. */
      jinja: z.boolean().default(true),
      /** More keys for agent.yaml, such as `log`, or `node: {addresses: [...]}` for the addresses that the new node claims. */
      agent: z.record(z.string(), z.unknown()).default({}),
      /** The last command at the machine's first boot. */
      start: z.array(z.string().min(1).max(4096)).min(1).max(64).default(['systemctl', 'enable', '--now', 'evercert-agent']),
    })
    .prefault({}),
  /** As `kubectl drain` has them, with the defaults of Cluster API's own drain: the machine goes away in any case. */
  drain: z
    .strictObject({
      /** Default: each pod's own. */
      gracePeriod: durationSeconds({ max: '24h' }).optional(),
      /** False: a pod with an emptyDir volume holds the drain up until a person has moved it. */
      deleteEmptyDirData: z.boolean().default(true),
      /** Pods of DaemonSets are left alone, for they would come back; false: one holds the drain up. */
      ignoreDaemonSets: z.boolean().default(true),
      /** False: a pod that no controller would make again holds the drain up. */
      force: z.boolean().default(true),
      /** How long, beyond its grace period, a pod that was told to end is waited for where the node's kubelet does not answer: nobody would confirm the end. */
      skipWaitAfter: durationMs({ min: '0s', max: '24h' }).default(30_000),
    })
    .prefault({}),
  /** How long one try of a deletion waits until the Machine is gone; the next try goes on waiting. */
  removeTimeout: durationMs({ min: '1s', max: '24h' }).default(240_000),
  /** For one request to an API server. */
  requestTimeout: durationMs({ min: '1s', max: '5m' }).default(30_000),
});

export type ClusterApiProvisionerConfig = z.infer<typeof clusterApiProvisionerSchema>;
