import { isAbsolute } from 'node:path';
import { z } from 'zod';

/** Of `sockaddr_un`, less the closing zero (unix(7)). */
const maxSocketPath = 107;

/** Agents as processes of this machine, kept by a local cluster (`npm start`), which serves the socket. */
export const processProvisionerSchema = z.strictObject({
  type: z.literal('process'),
  /** The local cluster's socket. */
  socket: z
    .string()
    .min(1)
    .refine((path) => isAbsolute(path) && !path.includes('\0') && Buffer.byteLength(path) <= maxSocketPath, {
      error: `expected the absolute path of a unix socket, ${maxSocketPath} bytes at most`,
    }),
});

export type ProcessProvisionerConfig = z.infer<typeof processProvisionerSchema>;
