import type {
  ActionCall,
  ActionReport,
  CreateCall,
  DiscardCall,
  DrainCall,
  JoinFacts,
  NewNode,
  NodeProvisioner,
} from '@evercert/coordinator/provisioning';
import { EvercertError } from '@evercert/shared/errors';

export type FakeAction = 'cordon' | 'uncordon' | 'drain' | 'remove' | 'allocate' | 'create' | 'discard';

export interface FakeCall {
  action: FakeAction;
  key: string;
  node: string;
  newNode: string;
}

export interface FakeProvisionerOptions {
  /** Names of the machines that there are. */
  machines?: readonly string[];
  /** Names the new machine of an attempt; absent: as the old one was called. */
  nameOf?: (call: ActionCall) => string;
  /** A machine was really made, not merely asked for once more. */
  onCreate?: (newNode: NewNode, join: JoinFacts) => void;
}

/** A maker of machines that exist in memory alone, as idempotent as a real one has to be: it outlives every runner, and remembers what was done under which key. */
export class FakeProvisioner implements NodeProvisioner {
  readonly type = 'fake';
  readonly sameName: boolean;
  /** Every call, repeats and failures included. */
  readonly calls: FakeCall[] = [];
  /** What really happened, once for each key. */
  readonly effects: FakeCall[] = [];
  readonly cordoned = new Set<string>();
  /** Machines that run, by id, with the name of their node. */
  readonly #machines = new Map<string, string>();
  readonly #failures = new Map<FakeAction, EvercertError[]>();
  readonly #broken = new Map<FakeAction, EvercertError>();
  readonly #hanging = new Set<FakeAction>();
  readonly #options: FakeProvisionerOptions;
  #made = 0;

  constructor(options: FakeProvisionerOptions = {}) {
    this.#options = options;
    this.sameName = options.nameOf === undefined;
    for (const name of options.machines ?? []) this.#machines.set(`${name}#0`, name);
  }

  /** Names of the machines that run, one for each. */
  get machines(): string[] {
    return [...this.#machines.values()].sort();
  }

  /** The next calls of the action fail, one with each error. */
  failNext(action: FakeAction, ...errors: EvercertError[]): void {
    this.#failures.set(action, [...(this.#failures.get(action) ?? []), ...errors]);
  }

  /** Every call of the action fails, until it is mended. */
  break(action: FakeAction, error = new EvercertError('Unavailable', `${action} is out of order`)): void {
    this.#broken.set(action, error);
  }

  mend(action: FakeAction): void {
    this.#broken.delete(action);
    this.#hanging.delete(action);
  }

  /** Calls of the action do not end until they are aborted. */
  hang(action: FakeAction): void {
    this.#hanging.add(action);
  }

  keysOf(action: FakeAction): string[] {
    return this.calls.filter((call) => call.action === action).map(({ key }) => key);
  }

  cordon(call: ActionCall): Promise<ActionReport> {
    return this.#act('cordon', call, call.node.name, () => this.cordoned.add(call.node.name));
  }

  uncordon(call: ActionCall): Promise<ActionReport> {
    return this.#act('uncordon', call, call.node.name, () => this.cordoned.delete(call.node.name));
  }

  drain(call: DrainCall): Promise<ActionReport> {
    return this.#act('drain', call, call.node.name, () => undefined);
  }

  remove(call: ActionCall): Promise<ActionReport> {
    return this.#act('remove', call, call.node.name, () => this.#delete(({ name, id }) => name === call.node.name && id.endsWith('#0')));
  }

  async allocate(call: ActionCall): Promise<NewNode> {
    await this.#act('allocate', call, '', () => undefined);
    const name = this.#options.nameOf?.(call) ?? call.node.name;
    return { name, machine: '', labels: call.node.labels, addresses: call.node.addresses, dnsNames: call.node.dnsNames };
  }

  create(call: CreateCall): Promise<ActionReport> {
    const { name } = call.newNode;
    return this.#act('create', call, name, () => {
      this.#made += 1;
      this.#machines.set(`${name}#${this.#made}`, name);
      this.#options.onCreate?.(call.newNode, call.join);
    });
  }

  discard(call: DiscardCall): Promise<ActionReport> {
    return this.#act('discard', call, call.newNode.name, () => this.#delete(({ name }) => name === call.newNode.name));
  }

  async close(): Promise<void> {
    for (const action of this.#hanging) this.mend(action);
  }

  async #act(action: FakeAction, call: ActionCall, newNode: string, effect: () => void): Promise<ActionReport> {
    const done: FakeCall = { action, key: call.idempotencyKey, node: call.node.name, newNode };
    this.calls.push(done);
    if (this.#hanging.has(action)) await aborted(call.signal);
    const failure = this.#failures.get(action)?.shift() ?? this.#broken.get(action);
    if (failure) throw failure;
    if (!this.effects.some(({ key }) => key === call.idempotencyKey)) {
      this.effects.push(done);
      effect();
    }
    return { message: '' };
  }

  #delete(matches: (machine: { id: string; name: string }) => boolean): void {
    for (const [id, name] of this.#machines) if (matches({ id, name })) this.#machines.delete(id);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(new EvercertError('Cancelled', 'the action was aborted'));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}
