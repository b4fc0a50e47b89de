/**
 * What makes and removes the machines of workers. One interface, several drivers; each is chosen by name in a cluster's policy and configured in the coordinator's own file, for it may run
 * programs. Every action is idempotent by its key: called again with the key of an action that was done, it does nothing and tells the same outcome.
 */

/** A node as its machine's maker knows it. */
export interface ProvisionedNode {
  name: string;
  labels: Readonly<Record<string, string>>;
  addresses: readonly string[];
  dnsNames: readonly string[];
}

export interface ActionCall {
  /** Stable over every repeat of this action of this attempt; RFC 3986 unreserved characters, 128 at most. */
  idempotencyKey: string;
  replacementId: string;
  /** From 1; grows with every new machine that is made for the replacement. */
  attempt: number;
  cluster: string;
  /** The node that is being replaced. */
  node: ProvisionedNode;
  /** Aborts when the coordinator stops or the action's time is over; the action is called again later with the same key. */
  signal: AbortSignal;
}

export interface ActionReport {
  /** One line for a person; empty: there is nothing to tell. */
  message: string;
}

/** What a new machine's agent needs to join; the token is a secret and is passed to the machine alone. */
export interface JoinFacts {
  /** Bootstrap token: single use, bound to the node's name. */
  token: string;
  tokenExpiresAtMs: number;
  /** `HOST:PORT` of the coordinator. */
  endpoints: readonly string[];
  /** Pins of the control CA. */
  caPins: readonly string[];
}

export interface NewNode extends ProvisionedNode {
  /** The driver's own id of the machine, if it knows one before it is made; empty: it is known by the node's name. */
  machine: string;
}

export interface AllocateCall extends ActionCall {}

export interface CreateCall extends ActionCall {
  /** As `allocate` has told it. */
  newNode: NewNode;
  join: JoinFacts;
}

export interface DiscardCall extends ActionCall {
  newNode: NewNode;
}

export interface DrainCall extends ActionCall {
  timeoutMs: number;
}

/**
 * Errors of every action: Unavailable or DeadlineExceeded (worth trying again; `retryAfterMs` is obeyed), FailedPrecondition (a person must do something; the message says what), and all
 * else, which is tried again with back-off. A machine that is not there any more is no error for `cordon`, `drain`, `remove` and `discard`.
 */
export interface NodeProvisioner {
  /** `process`, `command`, `nspawn` or `cluster-api`. */
  readonly type: string;
  /** The new machine is called as the old one was: the node's record stays, and `allocate` tells its own name. False: somebody else names it. */
  readonly sameName: boolean;
  /** How long one call may take, but for `drain`, which is told; default: five minutes. */
  readonly actionTimeoutMs?: number;
  /** Keeps new work off the node. */
  cordon(call: ActionCall): Promise<ActionReport>;
  /** Takes a cordon back: the replacement was cancelled. */
  uncordon(call: ActionCall): Promise<ActionReport>;
  /** Moves the node's work away. DeadlineExceeded: not all of it in time. */
  drain(call: DrainCall): Promise<ActionReport>;
  /** Ends and deletes the old machine; when it resolves, its agent runs no more. */
  remove(call: ActionCall): Promise<ActionReport>;
  /** Tells which node the new machine will be: the same name for drivers that make machines by name, another where somebody else names them. Unavailable: not known yet. */
  allocate(call: AllocateCall): Promise<NewNode>;
  /** Makes the machine, or gives one that is on its way what it needs to join; resolves when it is under way. NotFound: the machine that `allocate` told of is no more. */
  create(call: CreateCall): Promise<ActionReport>;
  /** Removes a new machine that did not join. */
  discard(call: DiscardCall): Promise<ActionReport>;
  /** Ends what the driver holds open in this process; machines live on. */
  close(): Promise<void>;
}
