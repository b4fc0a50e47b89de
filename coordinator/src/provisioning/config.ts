import { z } from 'zod';
import { commandProvisionerSchema } from './command/config.ts';
import { nspawnProvisionerSchema } from './nspawn/config.ts';
import { processProvisionerSchema } from './process/config.ts';

const name = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'expected a name of 1 to 63 lower-case letters, digits and hyphens, such as "cloud"',
});

/** The kinds of drivers. */
const provisioner = z.discriminatedUnion('type', [commandProvisionerSchema, nspawnProvisionerSchema, processProvisionerSchema], {
  error: (issue) => (issue.code === 'invalid_union' ? 'expected a known type of provisioner: "command", "nspawn" or "process"' : undefined),
});

/** Who makes and removes machines, by the name that policies call it by. */
export const provisionersSchema = z
  .record(name, provisioner)
  .refine((all) => Object.keys(all).length <= 32, { error: 'expected at most 32 provisioners' });

export type ProvisionerConfig = z.infer<typeof provisioner>;
export type ProvisionersConfig = z.infer<typeof provisionersSchema>;
