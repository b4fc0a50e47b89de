/** Between the run and the processes in which agents live. */
export interface AgentSpec {
  /** `NODE.GENERATION`. */
  id: string;
  node: string;
  address: string;
  /** Holds `root`, `state` and the token. */
  folder: string;
  endpoints: string[];
  caPins: string[];
}

export type Order = { order: number } & ({ kind: 'start'; agent: AgentSpec } | { kind: 'stop'; id: string } | { kind: 'statistics' });

/** Of all agents that one process has had. */
export interface Statistics {
  /** From the loss of a connection to the next one, milliseconds, each. */
  reconnectMs: number[];
  /** Connections that were made. */
  connections: number;
  /** Changes to another coordinator with the old connection still up. */
  moves: number;
  /** Renewals and issues that did not succeed at their first try, as the agents' events tell. */
  failedCalls: number;
  /** The same, by the code of the error. */
  failuresByCode: Record<string, number>;
  /** Agents that run, and those of them whose certificates are all in place. */
  running: number;
  ready: number;
  residentBytes: number;
  /** By the coordinator that they are connected to. */
  connectedTo: Record<string, number>;
}

export type Answer = { order: number } & ({ ok: true; statistics?: Statistics } | { ok: false; error: string });
