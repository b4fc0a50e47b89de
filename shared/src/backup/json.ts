import { z } from 'zod';
import { damaged } from './damage.ts';
import type { BackupAbout, BackupManifest } from './types.ts';

const count = z.strictObject({ entries: z.int().min(0), bytes: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const aboutSchema = z.strictObject({
  v: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  createdAt: z.iso.datetime(),
  clusters: z.array(z.string().max(63)).max(10_000),
  storeRevision: z.int().min(0),
  coordinatorVersion: z.string().max(100),
  keyProviders: z.array(z.string().max(20)).max(10),
});

const manifestSchema = z.strictObject({
  parts: z.record(z.string().max(255), count),
  whole: count,
  keysElsewhere: z.array(z.string().max(512)).max(100_000),
});

/** DataLoss: it is none, or of a newer version. */
export function parseAbout(text: string): BackupAbout {
  return parsed(aboutSchema, text, 'what it says it is of cannot be read: it is of a newer Evercert, or was changed');
}

/** DataLoss: it is none. */
export function parseManifest(text: string): BackupManifest {
  return parsed(manifestSchema, text, 'its manifest cannot be read');
}

export function parsed<T>(schema: z.ZodType<T>, text: string, otherwise: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw damaged(otherwise, error);
  }
}
