import type { AgentEvent, ConnectRequest, ConnectResponse, Hello } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, isErrorCode } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { roleToProto } from '@evercert/shared/wire';
import type { DesiredStates } from '../desired/desired-states.ts';
import { type EventRecorder, eventId } from '../events/recorder.ts';
import { isRenewalReason, renewalSource } from '../events/renewal-log.ts';
import type { Model } from '../state/model.ts';
import type { NodeRegistry } from './registry.ts';
import type { Sessions } from './sessions.ts';
import type { NodeStatuses } from './statuses.ts';

/** One agent's open stream, as the hub sees it. */
export interface NodeLink {
  cluster: string;
  node: string;
  send(message: ConnectResponse): void;
  /** Ends the stream; with an error, the agent sees it. */
  end(error?: EvercertError): void;
}

/** Changes that come together lead to one new desired state. */
const pushDelayMs = 20;
/** What an agent may write into the event log. */
const limits = { perMinute: 600, message: 1024, reason: /^[A-Z][A-Za-z]{0,63}$/, id: /^[A-Za-z0-9-]{1,64}$/ };

export interface NodeHubOptions {
  model: Model;
  desired: DesiredStates;
  statuses: NodeStatuses;
  registry: NodeRegistry;
  events: EventRecorder;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  heartbeatIntervalSeconds: number;
  sessions: Pick<Sessions, 'attached' | 'detached' | 'isConnected' | 'onTakenOver'>;
  endpoints: Endpoints;
}

/** Where agents find coordinators. */
export interface Endpoints {
  /** `HOST:PORT` of all that serve now, this one included. */
  all(): string[];
  /** Of those that serve when this one has stopped, in the order in which they are to be tried. */
  others(): string[];
}

/** Knows the connected agents: sends each its desired state when it changes, takes their reports and events. */
export class NodeHub {
  readonly #links = new Map<string, NodeLink>();
  readonly #sentRevisions = new WeakMap<NodeLink, string>();
  readonly #eventCounts = new WeakMap<NodeLink, { minute: number; count: number }>();
  readonly #due = new Set<string>();
  readonly #options: NodeHubOptions;

  constructor(options: NodeHubOptions) {
    this.#options = options;
    options.desired.subscribe((cluster, node) => this.#markDue(cluster, node));
    options.sessions.onTakenOver((cluster, node) => {
      const link = this.#links.get(`${cluster}/${node}`);
      if (link) dismiss(link, 'a newer stream of this node, at another coordinator, took over');
    });
  }

  get connected(): number {
    return this.#links.size;
  }

  /** Its stream is at this coordinator, or at another. */
  isConnected(cluster: string, node: string): boolean {
    return this.#links.has(`${cluster}/${node}`) || this.#options.sessions.isConnected(cluster, node);
  }

  /** Takes a new stream. An older one of the same node is told to go: an agent that reconnects after a network fault is heard at once. */
  attach(link: NodeLink): void {
    const key = `${link.cluster}/${link.node}`;
    const older = this.#links.get(key);
    this.#links.set(key, link);
    this.#options.sessions.attached(link.cluster, link.node);
    if (older) dismiss(older, 'a newer stream of this node took over');
  }

  detach(link: NodeLink): void {
    const key = `${link.cluster}/${link.node}`;
    if (this.#links.get(key) !== link) return;
    this.#links.delete(key);
    this.#options.sessions.detached(link.cluster, link.node);
  }

  /** Sends every agent to another coordinator; where there is none, to come back after a time, spread so that they do not return together. */
  sayGoodbye(reason: string): void {
    const { random, endpoints } = this.#options;
    for (const link of this.#links.values()) {
      link.send(goodbye(reason, 1 + Math.floor((this.#links.size / 500) * random()), endpoints.others()));
      link.end();
    }
  }

  /** One message of an agent. */
  async receive(link: NodeLink, { message }: ConnectRequest): Promise<void> {
    const { statuses } = this.#options;
    switch (message?.$case) {
      case 'hello':
        return this.#hello(link, message.value);
      case 'heartbeat':
        return statuses.seen(link.cluster, link.node);
      case 'report':
        return statuses.reported(link.cluster, link.node, message.value);
      case 'event':
        return this.#event(link, message.value);
      case undefined:
        // A newer agent says something that this coordinator does not know: its other messages still count.
        return statuses.seen(link.cluster, link.node);
    }
  }

  async #hello(link: NodeLink, hello: Hello): Promise<void> {
    const { model, statuses, registry, clock, heartbeatIntervalSeconds, endpoints } = this.#options;
    const { cluster, node } = link;
    statuses.seen(cluster, node, hello.facts?.agentVersion ?? '');
    const record = model.node(cluster, node);
    link.send({
      message: {
        $case: 'welcome',
        value: {
          cluster,
          node,
          role: roleToProto(record?.role),
          heartbeatInterval: { seconds: heartbeatIntervalSeconds, nanos: 0 },
          serverTime: new Date(clock.nowMs()),
          endpoints: endpoints.all(),
        },
      },
    });
    if (record && hello.facts) {
      const claimedAddresses = await registry.admitClaims(record, hello.facts.addresses);
      const same = claimedAddresses.join() === record.claimedAddresses.join();
      // An agent that tells no address (its interface is down) does not lose what it had.
      if (!same && claimedAddresses.length > 0) await registry.update(cluster, node, (current) => ({ ...current, claimedAddresses }));
    }
    if (hello.desiredRevision !== '') this.#sentRevisions.set(link, hello.desiredRevision);
    this.#push(link);
  }

  #event(link: NodeLink, event: AgentEvent): void {
    const { model, clock, events } = this.#options;
    if (!limits.id.test(event.id) || !limits.reason.test(event.reason)) {
      throw new EvercertError('InvalidArgument', 'an event needs an id of letters, digits and "-", and a CamelCase reason');
    }
    if (this.#tooMany(link)) return;
    const timeMs = Math.min(event.time?.getTime() ?? clock.nowMs(), clock.nowMs());
    const role = model.node(link.cluster, link.node)?.role;
    events.record({
      cluster: link.cluster,
      node: link.node,
      actor: `node/${link.cluster}/${link.node}`,
      reason: event.reason,
      warning: event.type === 'Warning',
      certificate: event.certificate.slice(0, 63),
      serial: event.serial.slice(0, 40),
      message: event.message.slice(0, limits.message),
      timeMs,
      id: eventId(timeMs, `${link.node}-${event.id}`),
      ...(isErrorCode(event.errorCode) && { errorCode: event.errorCode }),
      ...(role && isRenewalReason(event.reason) && { source: renewalSource(role) }),
    });
  }

  /** An agent that tells more than anything on a node can cause is not heard until the next minute; the first one too many is logged. */
  #tooMany(link: NodeLink): boolean {
    const minute = Math.floor(this.#options.clock.monotonicMs() / 60_000);
    const before = this.#eventCounts.get(link);
    const count = before?.minute === minute ? before.count + 1 : 1;
    this.#eventCounts.set(link, { minute, count });
    if (count === limits.perMinute + 1) {
      this.#options.logger.warn('an agent sends too many events; the rest of this minute is dropped', {
        cluster: link.cluster,
        node: link.node,
      });
    }
    return count > limits.perMinute;
  }

  #markDue(cluster: string, node: string): void {
    const key = `${cluster}/${node}`;
    if (this.#due.size === 0) this.#options.clock.after(pushDelayMs, () => this.#pushDue());
    this.#due.add(key);
  }

  #pushDue(): void {
    const due = [...this.#due];
    this.#due.clear();
    for (const key of due) {
      const link = this.#links.get(key);
      if (link) this.#push(link);
    }
  }

  #push(link: NodeLink): void {
    const plan = this.#options.desired.plan(link.cluster, link.node);
    if (!plan) {
      link.end(new EvercertError('Unauthenticated', `node ${link.node} does not exist (any more) in cluster ${link.cluster}`));
      return;
    }
    if (this.#sentRevisions.get(link) === plan.desired.revision) return;
    this.#sentRevisions.set(link, plan.desired.revision);
    link.send({ message: { $case: 'desiredState', value: plan.desired } });
  }
}

/** Ends a stream that another has taken the place of. */
function dismiss(link: NodeLink, reason: string): void {
  link.send(goodbye(reason, 0));
  link.end();
}

function goodbye(reason: string, seconds: number, endpoints: string[] = []): ConnectResponse {
  return { message: { $case: 'goodbye', value: { reason, retryAfter: { seconds, nanos: 0 }, endpoints } } };
}
