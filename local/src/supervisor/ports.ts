import { createServer } from 'node:net';
import { EvercertError } from '@evercert/shared/errors';

/** Below the range from which Linux takes ports for outgoing connections (32768 on), so that none of those gets in between. */
const firstPort = 20_000;
const lastPort = 32_000;
const tries = 200;

/**
 * A TCP port on which nobody listens at this address now. Drawn at random, so that clusters that start at the same time hardly meet.
 * `random` gives numbers from 0 to below 1. Unavailable when none is found.
 */
export async function freePort(address: string, random: () => number, taken: Set<number>): Promise<number> {
  for (let i = 0; i < tries; i++) {
    const port = firstPort + Math.floor(random() * (lastPort - firstPort));
    if (taken.has(port) || !(await canListen(address, port))) continue;
    taken.add(port);
    return port;
  }
  throw new EvercertError('Unavailable', `found no free port on ${address} between ${firstPort} and ${lastPort}`);
}

/** The same for several addresses at once: a port that is free at each of them. */
export async function commonPort(addresses: string[], random: () => number, taken: Set<number>): Promise<number> {
  for (let i = 0; i < tries; i++) {
    const port = await freePort(addresses[0] ?? '127.0.0.1', random, taken);
    const free = await Promise.all(addresses.map((address) => canListen(address, port)));
    if (free.every(Boolean)) return port;
  }
  throw new EvercertError('Unavailable', `found no port that is free on ${addresses.join(', ')}`);
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
