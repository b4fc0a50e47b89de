import { randomInt } from 'node:crypto';
import { faultPoint } from '@evercert/shared/fault-points';
import { RevocationChanges } from './apply/revocations.ts';
import { TokenAdmin } from './enrollment/token-admin.ts';
import { EventRecorder } from './events/recorder.ts';
import { CertificateIssuer } from './issuance/issuer.ts';
import { revocationsFeature, signersFeature, tokensFeature } from './kubernetes/index.ts';
import { ControllerList, type Controllers, type FencedStore, type NamedController, notLeader } from './leadership/index.ts';
import { NodeHealth } from './nodes/health/index.ts';
import { NodeRegistry } from './nodes/registry.ts';
import type { LedParts, PartsOptions } from './parts.ts';
import { Repairs } from './repair/controller.ts';
import { Replacements } from './replacement/controller.ts';
import { replacementFactsOf } from './replacement/facts.ts';
import { NodeRemoval } from './replacement/removal.ts';
import { NodeSwap } from './replacement/swap.ts';
import { Retention } from './retention.ts';

/** What RPCs need of the parts that run at the leader alone. */
export interface LeaderParts {
  replacements: Replacements;
  repairs: Repairs;
}

interface Led {
  parts: LeaderParts;
  /** In the order of their start. */
  controllers: NamedController[];
}

/**
 * Runs what one coordinator alone runs. All of it is made anew each time that this coordinator is elected, writes through the store of that very election, and has stopped before another is elected.
 * To add a controller: make it in `ledBy` and put it into the list there; what RPCs need of it goes into LeaderParts.
 */
export class Leader implements Controllers {
  readonly #options: PartsOptions;
  readonly #parts: LedParts;
  #running: { parts: LeaderParts; list: ControllerList } | undefined;
  readonly #started = Promise.withResolvers<void>();

  constructor(options: PartsOptions, parts: LedParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** Resolves when the controllers have started here for the first time. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  async start(fenced: FencedStore): Promise<void> {
    const { parts, controllers } = ledBy(fenced, this.#options, this.#parts);
    const list = new ControllerList(controllers, this.#options.logger);
    await list.start(fenced);
    this.#running = { parts, list };
    const { leadership, events } = this.#parts;
    const message = `coordinator ${leadership.id} runs the controllers`;
    events.record({ actor: 'coordinator', reason: 'LeadershipTaken', message, details: { coordinator: leadership.id } });
    this.#started.resolve();
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.list.stop();
  }

  /** NotLeader, with where to ask: they do not run here. */
  parts(): LeaderParts {
    const { leadership } = this.#parts;
    if (this.#running && leadership.isLeader()) return this.#running.parts;
    throw notLeader(leadership.isLeader() ? undefined : leadership.leaderAddress());
  }
}

/** Everything that this election runs; nothing of it may rely on what it kept in memory before, for another coordinator may have led since. */
function ledBy(fenced: FencedStore, options: PartsOptions, parts: LedParts): Led {
  const { clock, logger, config } = options;
  const { availability, status, bridges, windows } = parts;
  const writers = writersTo(fenced, options, parts);
  const health = healthOf(fenced, options, parts, writers);
  const replacements = replacementsOf(fenced, options, parts, { ...writers, health });
  const repairs = repairsOf(fenced, options, parts, writers);
  const retention = new Retention({
    store: fenced,
    clock,
    logger,
    certificatesMs: config.retention.certificates * 1000,
    eventsMs: config.retention.events * 1000,
    events: writers.events,
    isSealed: (entry) => parts.audit.isSealed(entry),
  });
  const features = [
    signersFeature({ ...parts, ...writers }),
    tokensFeature({ ...parts, ...writers, store: fenced }),
    revocationsFeature({ ...parts, changes: writers.changes }),
  ];
  return {
    parts: { replacements, repairs },
    controllers: [
      // First to start and last to stop: it seals what the others tell.
      { name: 'audit log', make: () => parts.audit.running(fenced) },
      { name: 'availability', make: () => ({ start: () => availability.start(fenced), stop: () => availability.stop() }) },
      { name: 'health', make: () => shownWhile(health, () => parts.health.lead(health)) },
      { name: 'replacement', make: () => shownWhile(replacements, () => parts.shown.lead(replacements)) },
      { name: 'repair', make: () => ({ start() {}, stop: () => repairs.stop() }) },
      { name: 'repair windows', make: () => windows.through(fenced, writers.events).tidying() },
      { name: 'CRLs', make: () => status.lists.maker(fenced) },
      { name: 'CA rotation', make: () => parts.rotationRunner(fenced) },
      { name: 'CA care', make: () => parts.authorityCare(fenced) },
      { name: 'retention', make: () => retention },
      { name: 'Kubernetes', make: () => bridges.running(features) },
    ],
  };
}

type Writers = ReturnType<typeof writersTo>;

/** The parts that keep nothing in memory, over the store of the election. */
function writersTo(fenced: FencedStore, { clock, logger }: PartsOptions, parts: LedParts) {
  const { model, desired, statuses, revocations, removed, backdateMs, admission, keptElsewhere } = parts;
  const events = new EventRecorder(fenced, clock, logger);
  const registry = new NodeRegistry({ store: fenced, model, events });
  return {
    events,
    registry,
    removal: new NodeRemoval({ store: fenced, model, registry, desired, statuses, revocations, removed, events, clock }),
    tokens: new TokenAdmin({ store: fenced, model, events, clock }),
    issuer: new CertificateIssuer({ store: fenced, clock, events, backdateMs, admission }),
    changes: new RevocationChanges({ store: fenced, model, desired, revocations, events, clock, keptElsewhere }),
  };
}

function healthOf(fenced: FencedStore, { clock, logger }: PartsOptions, parts: LedParts, { events }: Writers): NodeHealth {
  const { model, desired, statuses, revocations, windows, unreachableAfterMs } = parts;
  return new NodeHealth({ store: fenced, model, desired, statuses, revocations, windows, events, clock, logger, unreachableAfterMs });
}

function repairsOf(fenced: FencedStore, { config, clock }: PartsOptions, parts: LedParts, { registry, events }: Writers): Repairs {
  const { model, refusals, repairFacts } = parts;
  return new Repairs({
    facts: repairFacts,
    model,
    registry,
    windows: parts.windows.through(fenced, events),
    refusals,
    events,
    clock,
    limits: { silentAfterMs: config.repair.silentAfter * 1000, nodeMs: config.repair.nodeTimeout * 1000 },
  });
}

function replacementsOf(
  fenced: FencedStore,
  { provisioners, clock, logger }: PartsOptions,
  parts: LedParts,
  { registry, removal, tokens, events, health }: Writers & { health: NodeHealth },
): Replacements {
  const { model, desired, revocations, pauses, availability, coordinators, controlCa, shown, nowMs } = parts;
  const records = parts.replacementRecords.through(fenced);
  const stepOf = (cluster: string, id: string): string => records.get(cluster, id)?.record.step ?? '';
  const sources = { model, health, desired, revocations, stepOf, nowMs };
  return new Replacements({
    store: fenced,
    model,
    registry,
    records,
    pauses,
    swap: new NodeSwap({ registry, model, removal, tokens, pauses, events, clock }),
    provisioners,
    health,
    availability,
    factsOf: (node) => replacementFactsOf(sources, node),
    events,
    clock,
    logger,
    random: Math.random,
    newId: () => `rp-${newSuffix()}`,
    join: () => ({ endpoints: coordinators.endpoints(), caPins: controlCa.pins() }),
    earlier: shown.kept(),
    fault: faultPoint,
  });
}

/** What all coordinators show is what this one decides, for as long as it does. */
function shownWhile(controller: { start(): Promise<void> | void; stop(): Promise<void> }, show: () => () => void) {
  let end: (() => void) | undefined;
  return {
    async start(): Promise<void> {
      await controller.start();
      end = show();
    },
    async stop(): Promise<void> {
      end?.();
      await controller.stop();
    },
  };
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Ten characters: 51 bits, for names that are also compared when they are first written. */
export function newSuffix(): string {
  return Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join('');
}
