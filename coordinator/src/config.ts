import { hostname } from 'node:os';
import { durationSeconds, hostPort } from '@evercert/shared/config';
import { z } from 'zod';
import { caKeysSchema } from './keys/index.ts';
import { bridgesSchema } from './kubernetes/config.ts';
import { provisionersSchema } from './provisioning/config.ts';
import { storeSchema } from './store/config.ts';

/** Base of URLs, without a slash at its end. */
const webUrl = z
  .string()
  .refine((text) => /^https?:\/\/[!-~]+$/.test(text) && URL.canParse(text) && !/[?#]/.test(text) && text.length <= 512, {
    error: 'expected an http URL without a query, such as "http://pki.example.com"',
  })
  .overwrite((text) => text.replace(/\/+$/, ''));

/** The coordinator's configuration. Every key has a default but `dataDir`; `--print-config` shows them all. */
export const configSchema = z.strictObject({
  /** Folder for the store, the CA keys and the admin credential; made at the first start, mode 0700. */
  dataDir: z.string().min(1).default('/var/lib/evercert'),
  /** Where the state is: in a SQLite file in dataDir, or in an etcd cluster that several coordinators share. */
  store: storeSchema,
  /** Address and port of the gRPC listener. */
  listen: hostPort({ defaultPort: 7443, anyPort: true }).default('0.0.0.0:7443'),
  /** Host names and addresses under which agents and admins reach the coordinator; they stand in its certificate. */
  serverNames: z
    .array(z.string().min(1))
    .max(50)
    .default(() => [...new Set([hostname(), 'localhost', '127.0.0.1', '::1'])]),
  /** `HOST:PORT` that is written into the admin's context and printed for agents; default: the first server name and the listening port. */
  advertise: hostPort({ defaultPort: 7443 }).optional(),
  /** Life of the coordinator's own certificate and of the local admin credential. */
  serverCertificateLifetime: durationSeconds().default(96 * 3600),
  adminCertificateLifetime: durationSeconds().default(96 * 3600),
  /** How far notBefore is set back for clocks that run behind. */
  backdate: durationSeconds().default(60),
  /** Where the private keys of the CAs are. */
  caKeys: caKeysSchema,
  /** How often agents are to send heartbeats, and after how long without one a node is Unreachable. */
  heartbeatInterval: durationSeconds().default(10),
  unreachableAfter: durationSeconds().default(40),
  /** Of several coordinators on one store: how long the others wait when one is not heard any more, before its tasks are another's. */
  leadership: z.strictObject({ leaseTtl: durationSeconds({ min: '3s', max: '60s' }).default(10) }).prefault({}),
  /** Signing requests at work and waiting; beyond, callers are told to come back. */
  admission: z
    .strictObject({ concurrency: z.int().min(1).max(1024).default(32), queue: z.int().min(0).max(100_000).default(2048) })
    .prefault({}),
  /** How long a repair waits for a node of which nothing is heard (agents try at least every 30 s), and for one of which something is. */
  repair: z.strictObject({ silentAfter: durationSeconds().default(45), nodeTimeout: durationSeconds().default(180) }).prefault({}),
  /**
   * Rotations of CAs. A node that was not heard for `awayAfter` is not waited for; one that is heard and not through after `behindAfter` is told of as behind. Every `checkEvery`, CAs whose end is near
   * are looked for, and keys that nobody needs any more. The policy of clusters' CAs stands in their Cluster documents; the control CA's is here.
   */
  rotation: z
    .strictObject({
      awayAfter: durationSeconds().default(600),
      behindAfter: durationSeconds().default(120),
      checkEvery: durationSeconds().default(600),
      controlCa: z
        .strictObject({
          automatic: z.boolean().default(false),
          before: durationSeconds().default(365 * 86_400),
          maxConcurrent: z.int().min(1).max(1000).default(50),
        })
        .prefault({}),
    })
    .prefault({}),
  /** How long records are kept after a certificate's end, and events and the audit log's entries after they happened. */
  retention: z
    .strictObject({
      certificates: durationSeconds().default(30 * 86_400),
      events: durationSeconds().default(30 * 86_400),
      /** Of the audit log in the store; what `audit.directory` holds is bounded by its own limits. */
      audit: durationSeconds().default(365 * 86_400),
    })
    .prefault({}),
  /** The hash-chained log of everything that happened. */
  audit: z
    .strictObject({
      /** Calls that only read are entries too. */
      reads: z.boolean().default(false),
      /** Its end is signed after so long, or so many entries. */
      checkpointInterval: durationSeconds({ min: '1s', max: '24h' }).default(60),
      checkpointEntries: z.int().min(1).max(100_000).default(1000),
      /** Bytes of it, packed, that the store keeps at most; beyond, the oldest go before their time. */
      maxStored: z
        .int()
        .min(1_000_000)
        .default(512 * 1024 * 1024),
      /** Folder into which it is also written, as JSON lines; default: none. */
      directory: z.string().min(1).optional(),
      /** Bytes of one file, and how many files are kept. */
      maxFileSize: z
        .int()
        .min(10_000)
        .default(64 * 1024 * 1024),
      maxFiles: z.int().min(1).max(10_000).default(200),
    })
    .prefault({}),
  /** Plain HTTP for CRLs, OCSP and the CAs' certificates: public, signed, without any administration. */
  web: z
    .strictObject({
      enabled: z.boolean().default(true),
      listen: hostPort({ defaultPort: 7480, anyPort: true }).default('0.0.0.0:7480'),
      /** Base of the URLs that stand in certificates; set it where a proxy or another name leads here. Default: http, the first server name and the listening port. */
      url: webUrl.optional(),
    })
    .prefault({}),
  /** From a CRL's making to its next update; another is made at half of it, and at once when revocations change. */
  crl: z.strictObject({ lifetime: durationSeconds({ min: '4s', max: '720h' }).default(192 * 3600) }).prefault({}),
  /** The same for an OCSP answer, and the life of the certificates that sign them. */
  ocsp: z
    .strictObject({
      lifetime: durationSeconds({ min: '4s', max: '720h' }).default(3600),
      signerLifetime: durationSeconds({ min: '10s', max: '720h' }).default(96 * 3600),
    })
    .prefault({}),
  /** Who makes and removes workers' machines, by the name that a cluster's policy calls it by. */
  provisioners: provisionersSchema.default({}),
  /** Bridges to the API servers of clusters, by the cluster's name. */
  kubernetes: bridgesSchema.default({}),
  /** gRPC server reflection, for admins. */
  reflection: z.boolean().default(true),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      format: z.enum(['json', 'console']).default('json'),
    })
    .prefault({}),
  /** How long a stop waits for calls under way. */
  shutdownGrace: durationSeconds().default(10),
});

export type CoordinatorConfig = z.infer<typeof configSchema>;
