/**
 * A container runtime that is there and never ready: what keeps a real kubelet running where no container can run.
 *
 * gRPC by hand, and one answer to everything: kubelet 1.20 sends the socket's path as HTTP/2 `:authority`, which Node's own HTTP/2 (rightly) resets the stream for. VersionResponse is the only
 * message of CRI v1alpha2 that kubelet insists on when it starts; taken for any other, it does not parse, and so the runtime is "not ready": no cgroups, no containers, and kubelet waits.
 */
import { createServer, type Socket } from 'node:net';

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** RFC 9113, section 6. */
const frame = { data: 0, headers: 1, settings: 4, ping: 6, windowUpdate: 8 };
const flag = { endStream: 1, ack: 1, endHeaders: 4 };

/** Fields 1 to 4: version, runtime_name, runtime_version, runtime_api_version. */
const versionResponse = Buffer.concat(
  ['0.1.0', 'none', '1.0.0', 'v1alpha2'].map((text, index) => Buffer.from([((index + 1) << 3) | 2, text.length, ...Buffer.from(text)])),
);
/** RFC 7541: `:status: 200` is in its table, the rest are literals. */
const headers = Buffer.concat([Buffer.from([0x88]), literal('content-type', 'application/grpc')]);
const trailers = literal('grpc-status', '0');
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, versionResponse.length]), versionResponse]);

export interface FakeContainerRuntime {
  stop(): void;
}

/** @param socket path of the unix socket; a short one, they are limited to 107 bytes. */
export async function startFakeContainerRuntime(socket: string): Promise<FakeContainerRuntime> {
  const open = new Set<Socket>();
  const server = createServer((connection) => {
    open.add(connection);
    connection.on('close', () => open.delete(connection));
    // kubelet may be killed at any moment.
    connection.on('error', () => connection.destroy());
    serve(connection);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socket, resolve));
  return {
    stop: () => {
      server.close();
      for (const connection of open) connection.destroy();
    },
  };
}

function serve(connection: Socket): void {
  let received = Buffer.alloc(0);
  let begun = false;
  const send = (type: number, flags: number, stream: number, payload: Buffer): void => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    connection.write(Buffer.concat([head, payload]));
  };
  const take = (type: number, flags: number, stream: number, payload: Buffer): void => {
    if (type === frame.settings && !(flags & flag.ack)) send(frame.settings, flag.ack, 0, Buffer.alloc(0));
    if (type === frame.ping && !(flags & flag.ack)) send(frame.ping, flag.ack, 0, payload);
    if (type === frame.data && payload.length > 0) {
      const credit = Buffer.alloc(4);
      credit.writeUInt32BE(payload.length);
      send(frame.windowUpdate, 0, 0, credit);
    }
    if ((type !== frame.data && type !== frame.headers) || !(flags & flag.endStream)) return;
    send(frame.headers, flag.endHeaders, stream, headers);
    send(frame.data, 0, stream, message);
    send(frame.headers, flag.endHeaders | flag.endStream, stream, trailers);
  };
  connection.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (!begun) {
      if (received.length < preface.length) return;
      received = received.subarray(preface.length);
      begun = true;
      send(frame.settings, 0, 0, Buffer.alloc(0));
    }
    while (received.length >= 9) {
      const end = 9 + received.readUIntBE(0, 3);
      if (received.length < end) return;
      const whole = received.subarray(0, end);
      received = received.subarray(end);
      take(whole.readUInt8(3), whole.readUInt8(4), whole.readUInt32BE(5), whole.subarray(9));
    }
  });
}

/** A header field without indexing, its name and its value as they are. */
function literal(name: string, value: string): Buffer {
  const text = (bytes: string): Buffer => Buffer.concat([Buffer.from([bytes.length]), Buffer.from(bytes)]);
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}
