import { z } from 'zod';
import { clusterApiProvisionerSchema } from './cluster-api/config.ts';
import { commandProvisionerSchema } from './command/config.ts';
import { nspawnProvisionerSchema } from './nspawn/config.ts';
import { processProvisionerSchema } from './process/config.ts';

const name = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: 'expected a name of 1 to 63 lower-case letters, digits and hyphens, such as "cloud"',
});

const kinds = [clusterApiProvisionerSchema, commandProvisionerSchema, nspawnProvisionerSchema, processProvisionerSchema] as const;
const types = kinds.map(({ shape }) => `"${shape.type.value}"`).join(', ');

const provisioner = z.discriminatedUnion('type', kinds, {
  error: (issue) => (issue.code === 'invalid_union' ? `expected one of the types ${types}` : undefined),
});

/** Who makes and removes machines, by the name that policies call it by. */
export const provisionersSchema = z
  .record(name, provisioner)
  .refine((all) => Object.keys(all).length <= 32, { error: 'expected at most 32 provisioners' });

export type ProvisionerConfig = z.infer<typeof provisioner>;
export type ProvisionersConfig = z.infer<typeof provisionersSchema>;
