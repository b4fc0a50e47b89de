import { isAbsolute } from 'node:path';
import { durationMs } from '@evercert/shared/config';
import { z } from 'zod';

const program = z
  .string()
  .max(4096)
  .refine((path) => isAbsolute(path) && !path.includes('\0'), {
    error: 'expected the absolute path of an executable, such as "/etc/evercert/remove"',
  });

const argument = z
  .string()
  .max(4096)
  .refine((text) => !text.includes('\0'), { error: 'expected text without NUL characters' });

/** One step's program: its path, or the path with arguments and a time limit. */
const command = z.union([
  program,
  z.strictObject({
    command: z.tuple([program], argument).refine((argv) => argv.length <= 64, { error: 'expected at most 64 items' }),
    /** Default: 5m; for `drain` the policy's drainTimeout, which holds anyway. */
    timeout: durationMs({ min: '1s', max: '24h' }).optional(),
  }),
]);

const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, { error: 'expected the name of an environment variable' });

/** The operator's own executable for each step. What is left out is not done; `discard` is `remove` then, and without `allocate` the new machine has the old one's name. */
export const commandProvisionerSchema = z.strictObject({
  type: z.literal('command'),
  cordon: command.optional(),
  uncordon: command.optional(),
  drain: command.optional(),
  remove: command,
  allocate: command.optional(),
  create: command,
  discard: command.optional(),
  /** Names of variables of the coordinator's own environment that the executables get too. */
  env: z.array(variable).max(64).default([]),
  /** Folder in which the runs under way are noted, so that a coordinator that was killed ends those that it left before it begins again. Default: one for each provisioner in dataDir. */
  stateDir: z.string().max(4096).refine(isAbsolute, { error: 'expected an absolute path' }).optional(),
});

export type CommandProvisionerConfig = z.infer<typeof commandProvisionerSchema>;
