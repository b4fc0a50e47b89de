/** What the agent tells about itself over the status socket; times are RFC 3339 UTC, absent while there is none. */
export interface AgentStatus {
  agent: { version: string; pid: number; startedAt: string };
  identity: {
    state: string;
    message: string;
    code: string;
    nodeName: string;
    cluster: string;
    role: string;
    serial: string;
    notAfter?: string;
    nextRenewalAt?: string;
  };
  /** `endpoints`: all that are known, the preferred one first. */
  connection: { state: string; endpoint: string; since: string; lastError: string; lastErrorCode: string; endpoints: readonly string[] };
  desiredRevision: string;
  certificates: CertificateLine[];
  bundles: { name: string; issuer: string; version: number; state: string; lastError: string; served: string; servedMessage: string }[];
  revocationLists: { name: string; issuer: string; number: number; state: string; lastError: string }[];
  components: { name: string; state: string; message: string; checkedAt: string }[];
  keyPairs: { name: string; state: string; lastError: string }[];
  events: { waiting: number; dropped: number };
  /** Pins of the control CAs that are trusted, and why those that the coordinator told last are not; empty: they are. */
  controlTrust: { pins: string[]; lastError: string };
}

/** What an administrator at the node wants tried. */
export interface RecoverOrder {
  /** Bootstrap token for the node's name. */
  token?: string | undefined;
  /** The control CA has one of these public keys, and no other is to be trusted. */
  caPins?: string[] | undefined;
}

export interface CertificateLine {
  name: string;
  state: string;
  serial: string;
  fingerprint?: string;
  notBefore?: string;
  notAfter?: string;
  nextRenewalAt?: string;
  lastRenewalAt?: string;
  issuedTotal: number;
  failures: number;
  lapses: number;
  served: string;
  specHash: string;
  lastError: string;
  lastErrorCode: string;
}

/** True when the identity is good, and everything that is declared is Ready and, as far as the agent has seen, in place and at work. */
export function allReady({ identity, certificates, bundles, keyPairs, revocationLists }: AgentStatus): boolean {
  const declared = [...certificates, ...bundles, ...keyPairs, ...revocationLists];
  return identity.state === 'Ready' && declared.every(({ state, lastError }) => state === 'Ready' && lastError === '');
}
