import { EvercertError } from '@evercert/shared/errors';

/** Calls of strangers under way at once: of all, and of one address, which may stand for a whole cluster behind a NAT. */
const defaults = { inAll: 1024, ofOne: 256 };

/** Counts the calls under way of those who have shown no certificate: what each may make the coordinator keep is bounded, so their number has to be as well. */
export class Strangers {
  readonly #limits: typeof defaults;
  readonly #byHost = new Map<string, number>();
  #all = 0;

  constructor(limits = defaults) {
    this.#limits = limits;
  }

  /** Calls under way. */
  get size(): number {
    return this.#all;
  }

  /** Returns what ends it; idempotent. Overloaded, with a hint: too many are under way. */
  enter(peer: string): () => void {
    const host = networkOf(peer);
    const ofHost = this.#byHost.get(host) ?? 0;
    if (this.#all >= this.#limits.inAll || ofHost >= this.#limits.ofOne)
      throw new EvercertError('Overloaded', 'too many calls without a client certificate are under way', { retryAfterMs: 5000 });
    this.#all += 1;
    this.#byHost.set(host, ofHost + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#all -= 1;
      const remaining = (this.#byHost.get(host) ?? 1) - 1;
      if (remaining > 0) this.#byHost.set(host, remaining);
      else this.#byHost.delete(host);
    };
  }
}

/** Who counts as one behind `address:port`: an IPv4 address, or the network of 64 bits that whoever has one IPv6 address commonly has whole. */
export function networkOf(peer: string): string {
  const address = peer.slice(0, Math.max(0, peer.lastIndexOf(':'))).replace(/^\[|\]$/g, '');
  if (address.includes('.') || !address.includes(':')) return address.replace(/^::ffff:/i, '');
  const [head = '', tail] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [first, last] = [groups(head), groups(tail ?? '')];
  const zeros = tail === undefined ? [] : new Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0');
  return `${[...first, ...zeros, ...last].slice(0, 4).join(':')}::/64`;
}
