import { durationMs, ipRange } from '@evercert/shared/config';
import { z } from 'zod';
import { inRanges } from '../../nodes/names.ts';

/** What systemd-nspawn and systemd-run take without escapes. */
const folder = z
  .string()
  .max(1024)
  .refine((path) => /^(?:\/[A-Za-z0-9._@+-]+)+$/.test(path) && !/\/\.{1,2}(?:\/|$)/.test(path), {
    error: 'expected the absolute path of a folder, in letters, digits and "._@+-", such as "/var/lib/evercert-machines/image"',
  });

const bridged = z
  .strictObject({
    /** A bridge of this host: every machine gets an interface on it, `host0` inside. It leads to the coordinator. */
    bridge: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/, { error: 'expected the name of a network bridge, such as "br0"' }),
    /** A machine takes those of its node's registered addresses that lie in these, with their prefix lengths. Without: by DHCP. */
    subnets: z.array(ipRange()).min(1).max(16).optional(),
    gateway: z.union([z.ipv4(), z.ipv6()], { error: 'expected an IPv4 or IPv6 address' }).optional(),
  })
  .refine(({ subnets, gateway }) => gateway === undefined || inRanges(gateway, subnets ?? []), {
    path: ['gateway'],
    error: 'expected an address in one of the subnets',
  });

const driversOwn = ['coordinator', 'node', 'token', 'tokenFile'];

/** Machines on the coordinator's own host: systemd-nspawn containers that boot systemd. The coordinator has to run as root. */
export const nspawnProvisionerSchema = z.strictObject({
  type: z.literal('nspawn'),
  /** The root that every machine begins as a copy of; `deploy/nspawn/make-image.sh` makes it. */
  image: folder,
  /** Made by the driver, mode 0700. Copies are cheap when it is on the image's file system and that one can share blocks. */
  machinesDir: folder.default('/var/lib/evercert-machines/machines'),
  /** `host`: machines share the network of the host. */
  network: z.union([z.literal('host'), bridged], { error: 'expected "host", or a mapping with "bridge"' }).default('host'),
  /** Further settings of every machine's agent.yaml. */
  agent: z
    .record(z.string().max(64), z.json())
    .refine((settings) => driversOwn.every((key) => !Object.hasOwn(settings, key)), {
      error: `expected no ${driversOwn.join(', ')}: those are the driver's to set`,
    })
    .default({}),
  /** How long a machine may take until its systemd is up. */
  bootTimeout: durationMs({ min: '1s', max: '1h' }).default(120_000),
  /** How long a machine may take to power off in order; then it is killed. */
  stopTimeout: durationMs({ min: '1s', max: '1h' }).default(30_000),
});

export type NspawnProvisionerConfig = z.infer<typeof nspawnProvisionerSchema>;
export type MachineNetwork = NspawnProvisionerConfig['network'];
