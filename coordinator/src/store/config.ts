import { durationMs, durationSeconds, hostPort } from '@evercert/shared/config';
import { z } from 'zod';

const file = z.string().min(1);

const etcd = z.strictObject({
  /** `HOST:PORT` of every member. */
  endpoints: z
    .array(hostPort({ defaultPort: 2379 }))
    .min(1)
    .max(15),
  /** PEM: the CAs that signed the members' certificates, and the client certificate with its key; read again for each new connection. */
  caFile: file,
  certFile: file,
  keyFile: file,
  /** In front of every key: two installations of Evercert can share an etcd. */
  keyPrefix: z
    .string()
    .max(100)
    .regex(/^(?:\/[a-z0-9._-]+)*$/, { error: 'expected nothing or a path such as "/team-a"' })
    .default(''),
  /** How long a connection to a member, and one answer of it, may take before the next member is asked. */
  dialTimeout: durationMs({ min: '100ms', max: '1m' }).default(2000),
  requestTimeout: durationMs({ min: '500ms', max: '1m' }).default(5000),
  /** How much of the past etcd keeps; what is older the coordinators compact. Null: etcd does that itself (--auto-compaction-retention). */
  compactAfter: durationSeconds({ min: '1m', max: '24h' }).nullable().default(600),
});

/** Where the coordinator's state is: in one of these. */
export const storeSchema = z
  .strictObject({
    /** A file in dataDir, which one coordinator has for itself; the default. */
    sqlite: z.strictObject({}).optional(),
    /** An etcd cluster (3.4 or newer), which several coordinators share. */
    etcd: etcd.optional(),
  })
  .refine((store) => (store.sqlite === undefined) !== (store.etcd === undefined), {
    error: 'expected either "sqlite: {}" or "etcd" with endpoints, caFile, certFile and keyFile',
  })
  .prefault({ sqlite: {} });

export type StoreConfig = z.infer<typeof storeSchema>;
export type EtcdConfig = z.infer<typeof etcd>;
