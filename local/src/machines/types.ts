import type { NodeRole } from '../cluster/node.ts';

/** A machine that is to be made: who it will be, and what its agent needs to join. */
export interface MachineOrder {
  name: string;
  addresses: readonly string[];
  join: {
    /** Secret: goes into the machine's own folder and nowhere else. */
    token: string;
    /** `HOST:PORT`s of the coordinator. */
    endpoints: readonly string[];
    caPins: readonly string[];
  };
}

/** A machine as it is told on the socket. */
export interface MachineView {
  name: string;
  role: NodeRole;
  addresses: string[];
  /** Of the agent; null: it does not run. */
  pid: number | null;
  /** Stands for `/` of the machine. */
  folder: string;
}

/** What really makes and removes machines. One call at a time. */
export interface MachineKeeper {
  list(): MachineView[];
  /** All of it or nothing: what fails leaves no machine. The message is for a person. */
  create(order: MachineOrder): Promise<string>;
  /** When it resolves, the machine's agent runs no more. */
  remove(name: string): Promise<string>;
}
