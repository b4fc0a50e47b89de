import { hostname } from 'node:os';
import { isAbsolute, normalize, resolve } from 'node:path';
import { describeValue, durationMs, hostPort, readConfigFile } from '@evercert/shared/config';
import { roles } from '@evercert/shared/manifest';
import * as z from 'zod';

const absolutePath = z.string().refine(isAbsolute, 'expected an absolute path');
/** Of a control CA's public key. */
export const pinSchema = z
  .string()
  .regex(/^sha256:[0-9a-fA-F]{64}$/, 'expected a pin as "sha256:" and 64 hexadecimal digits, as `evercert token create` prints it');
const address = z.union([z.ipv4(), z.ipv6()], {
  error: ({ input }) => `expected an IPv4 or IPv6 address, found ${describeValue(input)}`,
});

/** Domain names as the coordinator takes them for nodes: RFC 1123. */
const nodeName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'expected a node name: lower-case letters, digits, "-" and "."');

export const agentConfigSchema = z.strictObject({
  coordinator: z.strictObject({
    endpoints: z
      .array(hostPort({ defaultPort: 7443 }))
      .min(1)
      .max(16)
      .describe('Coordinators. The node prefers one of them, by a hash of its name, and goes on to another when that one does not answer.'),
    caPins: z.array(pinSchema).min(1).max(16).describe('Public keys of the control CA; any may match.'),
  }),
  node: z
    .strictObject({
      name: nodeName.default(() => hostname().toLowerCase()),
      addresses: z
        .array(address)
        .max(64)
        .default([])
        .describe('Addresses that the node claims; the cluster decides which may stand in certificates.'),
      role: z.enum(roles).optional(),
    })
    .prefault({}),
  token: z.string().optional().describe('Bootstrap token; needed only until the node has its identity.'),
  tokenFile: absolutePath.default('/etc/evercert-agent/token').describe('File with the bootstrap token; read again at each try.'),
  stateDir: absolutePath.default('/var/lib/evercert-agent'),
  rootDir: absolutePath.default('/').describe('Declared paths lie under it.'),
  allowedPaths: z
    .array(absolutePath)
    .min(1)
    .max(64)
    .default(['/etc/kubernetes', '/var/lib/kubelet/pki', '/etc/evercert/certificates'])
    .describe('The agent writes declared files nowhere else.'),
  pairStrategy: z
    .enum(['symlink', 'rename'])
    .default('symlink')
    .describe('How a pair is switched: by symlinks or by ordered renames with a journal.'),
  staticPods: z
    .strictObject({
      folder: absolutePath
        .refine((path) => normalize(path) === path && !path.endsWith('/'), 'expected a folder in its shortest form, without "/" at its end')
        .default('/etc/kubernetes/manifests')
        .describe("kubelet's folder of static pod manifests, under rootDir; a reload moves manifests of this folder alone."),
      fileCheckPeriod: durationMs({ min: '100ms', max: '10m' })
        .prefault('20s')
        .describe('How often kubelet looks at that folder (its fileCheckFrequency); a manifest stays out for longer.'),
    })
    .prefault({}),
  statusSocket: absolutePath.default('/run/evercert-agent/status.sock'),
  scanInterval: durationMs({ min: '1s', max: '1h' }).prefault('30s'),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      format: z.enum(['json', 'console']).default('json'),
    })
    .prefault({}),
});

export type AgentConfig = z.output<typeof agentConfigSchema>;

/** Errors: InvalidConfig, with file, line and field of every fault. */
export function readAgentConfig(path: string): AgentConfig {
  return readConfigFile(agentConfigSchema, resolve(path));
}
