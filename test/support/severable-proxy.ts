/** The network between a node and the coordinator, which can be cut: nothing arrives any more, and nobody is told. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class SeverableProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #severed = false;

  private constructor(target: string) {
    const { hostname, port } = new URL(`tcp://${target}`);
    this.#server = createServer((near) => {
      const far = connect(Number(port), hostname);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (chunk) => void (this.#severed || to.write(chunk)));
        from.on('error', () => from.destroy());
        from.on('close', () => {
          this.#sockets.delete(from);
          if (!this.#severed) to.destroy();
        });
      }
    });
  }

  static async open(target: string): Promise<SeverableProxy> {
    const proxy = new SeverableProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** `127.0.0.1:PORT` */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What is sent over connections, old and new, is swallowed; they stay open. */
  sever(): void {
    this.#severed = true;
  }

  /** Connections of before are gone, as after any long silence; new ones go through. */
  mend(): void {
    this.#severed = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
