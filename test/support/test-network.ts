/** Machines on a network of their own: a network namespace each, joined by a bridge, where traffic can be dropped in silence. Needs root, `ip` and `nft`. */
import { randomBytes } from 'node:crypto';
import { findTool, runOk } from './tools.ts';

export class TestNetwork {
  readonly #id: string;
  readonly #subnet: string;
  readonly #count: number;

  private constructor(id: string, count: number) {
    this.#id = id;
    this.#count = count;
    // Of 10.224.0.0/12, by the id: test runs at the same time hardly meet.
    this.#subnet = `10.${224 + (Number.parseInt(id.slice(0, 1), 16) % 16)}.${Number.parseInt(id.slice(1, 3), 16)}`;
  }

  static async open(count: number): Promise<TestNetwork> {
    const network = new TestNetwork(randomBytes(2).toString('hex'), count);
    try {
      await network.#make();
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  address(index: number): string {
    return `${this.#subnet}.${10 + index}`;
  }

  /** What a command has to begin with to run on a machine. */
  command(index: number): string[] {
    return [findTool('ip') ?? 'ip', 'netns', 'exec', this.#namespace(index)];
  }

  /** Nothing passes between a machine and the others any more, nor, with `everybody`, the rest of the world; nobody is told. */
  async cut(index: number, from: 'the others' | 'everybody'): Promise<void> {
    const others = [...Array(this.#count).keys()].filter((other) => other !== index).map((other) => this.address(other));
    const match = (direction: string): string => (from === 'everybody' ? 'iifname != "lo"' : `ip ${direction} { ${others.join(', ')} }`);
    const out = from === 'everybody' ? 'oifname != "lo"' : match('daddr');
    const rules = `table inet cut {
      chain input { type filter hook input priority 0; ${match('saddr')} drop; }
      chain output { type filter hook output priority 0; ${out} drop; }
    }`;
    await this.#nft(index, rules);
  }

  async mend(index: number): Promise<void> {
    await this.#nft(index, 'table inet cut\ndelete table inet cut');
  }

  async close(): Promise<void> {
    for (let index = 0; index < this.#count; index++) await this.#ip(['netns', 'del', this.#namespace(index)]).catch(() => undefined);
    await this.#ip(['link', 'del', this.#bridge]).catch(() => undefined);
  }

  async #make(): Promise<void> {
    await this.#ip(['link', 'add', this.#bridge, 'type', 'bridge']);
    await this.#ip(['addr', 'add', `${this.#subnet}.1/24`, 'dev', this.#bridge]);
    await this.#ip(['link', 'set', this.#bridge, 'up']);
    for (let index = 0; index < this.#count; index++) {
      const namespace = this.#namespace(index);
      const [near, far] = [`ev${this.#id}h${index}`, `ev${this.#id}n${index}`];
      await this.#ip(['netns', 'add', namespace]);
      await this.#ip(['link', 'add', near, 'type', 'veth', 'peer', 'name', far]);
      await this.#ip(['link', 'set', near, 'master', this.#bridge, 'up']);
      await this.#ip(['link', 'set', far, 'netns', namespace]);
      await this.#ip(['-n', namespace, 'addr', 'add', `${this.address(index)}/24`, 'dev', far]);
      await this.#ip(['-n', namespace, 'link', 'set', far, 'up']);
      await this.#ip(['-n', namespace, 'link', 'set', 'lo', 'up']);
    }
  }

  async #ip(args: string[]): Promise<void> {
    await runOk(findTool('ip') ?? 'ip', args);
  }

  async #nft(index: number, rules: string): Promise<void> {
    const [ip = 'ip', ...rest] = this.command(index);
    await runOk(ip, [...rest, findTool('nft') ?? 'nft', '-f', '-'], { input: rules });
  }

  get #bridge(): string {
    return `ev${this.#id}`;
  }

  #namespace(index: number): string {
    return `ev${this.#id}-${index + 1}`;
  }
}
