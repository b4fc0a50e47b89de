/** A process in which many agents live, each the whole agent with a folder, a key and a connection of its own. Ends with the process that started it. */
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { allReady } from '@evercert/agent/status';
import { systemClock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import { createLogger, type LogFields, type Logger } from '@evercert/shared/logging';
import type { AgentSpec, Answer, Order, Statistics } from './messages.ts';

interface Hosted {
  agent: Agent;
  abort: AbortController;
  ended: Promise<void>;
}

const agents = new Map<string, Hosted>();
const seen = { reconnectMs: [] as number[], connections: 0, moves: 0, failedCalls: 0, failuresByCode: {} as Record<string, number> };
const log = createLogger({ level: 'warn', format: 'json', component: 'agents' });

/** Reads from an agent's log when its connection was lost, and when it had another. */
class Watched implements Logger {
  readonly #inner: Logger;
  readonly #link: { lostAtMs: number | undefined; connected: boolean };

  constructor(inner: Logger, link: { lostAtMs: number | undefined; connected: boolean } = { lostAtMs: undefined, connected: false }) {
    this.#inner = inner;
    this.#link = link;
  }

  debug(): void {}

  info(message: string): void {
    if (message !== 'Connected to the coordinator') return;
    const { lostAtMs, connected } = this.#link;
    seen.connections += 1;
    if (lostAtMs !== undefined) seen.reconnectMs.push(performance.now() - lostAtMs);
    else if (connected) seen.moves += 1;
    Object.assign(this.#link, { lostAtMs: undefined, connected: true });
  }

  warn(message: string, fields: LogFields = {}): void {
    if (message.startsWith('No connection to the coordinator') && this.#link.connected) {
      Object.assign(this.#link, { lostAtMs: performance.now(), connected: false });
    }
    if (fields['reason'] === 'RenewalFailed' || fields['reason'] === 'IssueFailed') {
      const code = fields.code ?? '';
      seen.failedCalls += 1;
      seen.failuresByCode[code] = (seen.failuresByCode[code] ?? 0) + 1;
    }
    this.#inner.warn(message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#inner.error(message, fields);
  }

  child(fields: LogFields): Logger {
    return new Watched(this.#inner.child(fields), this.#link);
  }
}

function start({ id, node, address, folder, endpoints, caPins }: AgentSpec): void {
  const config = agentConfigSchema.parse({
    coordinator: { endpoints, caPins },
    node: { name: node, addresses: [address] },
    tokenFile: join(folder, 'token'),
    stateDir: join(folder, 'state'),
    rootDir: join(folder, 'root'),
    statusSocket: join(folder, 'sock'),
  });
  const abort = new AbortController();
  const logger = new Watched(log.child({ node: id }));
  const surroundings = { clock: systemClock, random: Math.random, env: {}, pid: process.pid };
  const agent = new Agent({ config, logger, ...surroundings, onReady: () => undefined, onStatus: () => undefined });
  const ended = agent.run(abort.signal).catch((error: unknown) => logger.error('The agent ended', { error: describeError(error) }));
  agents.set(id, { agent, abort, ended });
}

async function stop(id: string): Promise<void> {
  const hosted = agents.get(id);
  agents.delete(id);
  hosted?.abort.abort();
  await hosted?.ended;
}

function statistics(): Statistics {
  const all = [...agents.values()].map(({ agent }) => agent.status());
  const connectedTo: Record<string, number> = {};
  for (const { connection } of all) {
    const place = connection.state === 'Connected' ? connection.endpoint : connection.state;
    connectedTo[place] = (connectedTo[place] ?? 0) + 1;
  }
  const ready = all.filter((status) => status.certificates.length > 0 && allReady(status)).length;
  return { ...seen, running: all.length, ready, residentBytes: process.memoryUsage.rss(), connectedTo };
}

async function carryOut(order: Order): Promise<Answer> {
  try {
    if (order.kind === 'start') start(order.agent);
    if (order.kind === 'stop') await stop(order.id);
    return { order: order.order, ok: true, ...(order.kind === 'statistics' && { statistics: statistics() }) };
  } catch (error) {
    return { order: order.order, ok: false, error: describeError(error) };
  }
}

process.on('message', (order: Order) => {
  void carryOut(order).then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit(0));
