import { join } from 'node:path';
import { type AdminApi, type Environment, type RequestOf, type ResponseOf, runProgram } from '@evercert/cli';
import type { RepairResponse, WatchResponse } from '@evercert/proto';
import * as proto from '@evercert/proto';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';

/** The time of all these tests. */
export const now = Date.parse('2026-06-01T12:00:00Z');
export const at = (secondsFromNow: number): Date => new Date(now + secondsFromNow * 1000);

type Method = Parameters<AdminApi['call']>[0];
export type Handlers = { [Name in Method]?: (request: RequestOf<Name>) => Partial<ResponseOf<Name>> };

export interface FakeApi extends AdminApi {
  readonly calls: { method: string; request: unknown }[];
}

/** An admin API that answers from handlers, and fails the test for every other call. */
export function fakeApi(handlers: Handlers, watch: WatchResponse[] = [], repair: RepairResponse[] = []): FakeApi {
  const calls: FakeApi['calls'] = [];
  return {
    server: 'coordinator.test:7443',
    calls,
    async call(method, request) {
      calls.push({ method, request });
      const handler = handlers[method] as ((request: unknown) => object) | undefined;
      if (!handler) throw new Error(`unexpected call of ${method}`);
      return handler(request) as never;
    },
    // biome-ignore lint/correctness/useYield: it fails before it could
    async *stream(method) {
      throw new Error(`unexpected call of ${method}`);
    },
    async *watch(request) {
      calls.push({ method: 'watch', request });
      yield* watch;
    },
    async *repair(request) {
      calls.push({ method: 'repair', request });
      yield* repair;
    },
    presented: () => [],
    close: () => void calls.push({ method: 'close', request: undefined }),
  };
}

export interface Outcome {
  exitCode: number;
  out: string;
  err: string;
}

export interface RunOptions {
  api?: AdminApi;
  cwd?: string;
  env?: Record<string, string>;
  stdin?: string;
  /** What the person at the terminal types, one after the other; absent: there is no terminal. */
  answers?: string[];
  /** Absent: time stands still. */
  clock?: FakeClock;
}

/** Contexts `demo` (the current one, with its cluster) and `all` (without one). */
export const contextsFile = join(import.meta.dirname, 'contexts.yaml');

/** A run of the program in this process; what it connects to is the given API. */
export async function run(
  args: string[],
  { api, cwd = '/nonexistent', env = { EVERCERT_CONFIG: contextsFile }, stdin = '', answers, clock = new FakeClock(now) }: RunOptions = {},
): Promise<Outcome> {
  const outcome = { out: '', err: '' };
  const environment: Environment = {
    clock,
    env,
    cwd,
    homeDir: '/nonexistent/home',
    out: (text) => {
      outcome.out += text;
    },
    err: (text) => {
      outcome.err += text;
    },
    readStdin: async () => stdin,
    ...(answers && { ask: async () => answers.shift() }),
    connect: async () => {
      if (!api) throw new EvercertError('Unavailable', 'this test has no coordinator');
      return api;
    },
  };
  return { exitCode: await runProgram(args, environment), ...outcome };
}

export const node = (name: string, fields: proto.DeepPartial<proto.Node> = {}): proto.Node =>
  proto.Node.fromPartial({ cluster: 'demo', name, role: proto.Role.WORKER, createdAt: at(-3600), ...fields });

export const certificate = (nodeName: string, name: string, fields: proto.DeepPartial<proto.Certificate> = {}): proto.Certificate =>
  proto.Certificate.fromPartial({
    cluster: 'demo',
    node: nodeName,
    name,
    issuer: 'cluster-ca',
    serial: '0a'.repeat(16),
    subject: `CN=${name}`,
    keyAlgorithm: 'ecdsa-p384',
    issuedAt: at(-60),
    notBefore: at(-120),
    notAfter: at(2 * 3600 + 11 * 60),
    current: true,
    ...fields,
  });
