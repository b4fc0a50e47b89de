/** What is left of a run, as the judge reads it: nothing of it was written for the judge by the coordinators or the agents. */

/** One certificate that was seen in a file of a machine. */
export interface Seen {
  machine: string;
  node: string;
  /** Name of the file: `kubelet-client`, `identity`. */
  file: string;
  serial: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hexadecimal. */
  publicKey: string;
  notAfterMs: number;
  /** First and last look at which it was there. */
  firstMs: number;
  lastMs: number;
}

export interface Machine {
  /** `NODE.GENERATION`. */
  id: string;
  node: string;
  /** In the order in which they were seen. */
  seen: Seen[];
  /** Looked at until then. */
  endMs: number;
  /** It was switched off before the end of the run, or removed: what was under way at that moment was lost with it. */
  gone: boolean;
  /** Certificates that ran out while in use, as the machine's own counters have them. */
  lapses: number;
  /** What is wrong with its files at the end, as "kubelet-client: key and certificate do not belong together". */
  damage: string[];
}

/** One entry of the audit log. */
export interface Entry {
  sequence: number;
  /** Whether its hash follows from the entry before. */
  linked: boolean;
  reason: string;
  timeMs: number;
  node: string;
  certificate: string;
  serial: string;
  publicKey: string;
  message: string;
}

/** One certificate record of the store. */
export interface Stored {
  key: string;
  node: string;
  certificate: string;
  serial: string;
  publicKey: string;
}

/** One line of the provisioner's record. */
export interface Action {
  /** `call`: it was asked to. `effect`: it has really done it. */
  kind: 'call' | 'effect';
  key: string;
  action: 'create' | 'remove';
  /** Name of the node. */
  node: string;
  atMs: number;
}

export interface History {
  machines: Machine[];
  entries: Entry[];
  stored: Stored[];
  actions: Action[];
}

export type FaultKind =
  | 'Lapsed'
  | 'SerialTwice'
  | 'RenewalTwice'
  | 'StepTwice'
  | 'NeedlessRemoval'
  | 'NotInLog'
  | 'NotInFolder'
  | 'NotInStore'
  | 'Damaged'
  | 'LogBroken'
  | 'Empty';

export interface Fault {
  kind: FaultKind;
  text: string;
}

export interface Verdict {
  machines: number;
  certificates: number;
  renewals: number;
  issued: number;
  /** Issued to machines that were stopped before they could take it in. */
  underWay: number;
  replacements: number;
  actions: number;
  entries: number;
  faults: Fault[];
}
