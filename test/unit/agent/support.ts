/** Fakes of what stands around the agent's domain: files in memory, a coordinator that signs nothing, a log of events. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { CertificateManager, type DesiredCertificate } from '@evercert/agent/certificates';
import type { Adoption, CoordinatorApi, IssueReason } from '@evercert/agent/coordinator-api';
import type { EventSink, NewEvent } from '@evercert/agent/events';
import type {
  CertificateFiles,
  FileFault,
  FoundPair,
  InstalledPair,
  PairMeta,
  PendingPair,
  PlainFileSpec,
  PlainFiles,
} from '@evercert/agent/files';
import { CounterStore, type StateFolder } from '@evercert/agent/state';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import type { ResolvedCertificate } from '@evercert/shared/manifest';

export const someKey: KeyObject = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export function memoryFolder(): StateFolder & { files: Map<string, Buffer> } {
  const files = new Map<string, Buffer>();
  return {
    files,
    read: async (name) => files.get(name),
    list: async (name) => [...files.keys()].filter((key) => key.startsWith(`${name}/`)).map((key) => key.slice(name.length + 1)),
    write: async (name, content) => void files.set(name, Buffer.from(content)),
    remove: async (name) => void files.delete(name),
    sweep: async () => [],
  };
}

export class EventLog implements EventSink {
  readonly events: NewEvent[] = [];
  record(event: NewEvent): void {
    this.events.push(event);
  }
  reasons(): string[] {
    return this.events.map(({ reason }) => reason);
  }
}

export function certificateSpec(name: string, change: Partial<ResolvedCertificate> = {}): ResolvedCertificate {
  return {
    name,
    issuer: 'cluster-ca',
    commonName: name,
    organizations: [],
    dnsNames: ['node-1'],
    ipAddresses: [],
    usages: ['digital signature', 'server auth'],
    keyAlgorithm: 'ecdsa-p384',
    lifetimeSeconds: 60,
    renewAt: 2 / 3,
    outputs: [
      { type: 'pem', certificate: { path: `/pki/${name}.crt`, mode: 0o644 }, privateKey: { path: `/pki/${name}.key`, mode: 0o600 } },
    ],
    specHash: `${name}-1`,
    ...change,
  };
}

export function desired(
  name: string,
  change: Partial<ResolvedCertificate> = {},
  rest: Partial<DesiredCertificate> = {},
): DesiredCertificate {
  return { spec: certificateSpec(name, change), trustAnchors: [], ...rest };
}

/** Chains of the fake coordinator hold the metadata of the pair in place of DER. */
interface FakeLeaf {
  serial: string;
  issuedAtMs: number;
  notAfterMs: number;
}

export class FakeFiles implements CertificateFiles {
  readonly pairs = new Map<string, InstalledPair>();
  readonly waiting = new Map<string, PendingPair & { issuedAtMs?: number }>();
  readonly removed: string[] = [];
  /** What lies at the declared paths. */
  readonly inPlace = new Map<string, { found: FoundPair } | { why?: string }>();
  /** What the next inspections find. */
  readonly faults = new Map<string, FileFault[]>();
  installError: Error | undefined;
  restoreError: Error | undefined;
  keysMade = 0;
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  recover = async (): Promise<string[]> => [];
  names = async (): Promise<string[]> => [...new Set([...this.pairs.keys(), ...this.waiting.keys()])];
  pending = async (name: string): Promise<PendingPair | undefined> => this.waiting.get(name);
  installed = async (name: string): Promise<InstalledPair | undefined> => this.pairs.get(name);
  inspect = async (spec: ResolvedCertificate): Promise<FileFault[]> => this.faults.get(spec.name) ?? [];

  findInPlace = async (spec: ResolvedCertificate): Promise<{ found: FoundPair } | { why?: string }> => this.inPlace.get(spec.name) ?? {};

  async adopt(spec: ResolvedCertificate, found: FoundPair, terms: { adoptedAtMs: number; renewAtMs: number }): Promise<InstalledPair> {
    const { serial, notAfterMs, issuedAtMs } = JSON.parse(found.chain[0]!.toString()) as FakeLeaf;
    const adopted = { renewAtMs: terms.renewAtMs, paths: found.paths, declared: found.paths };
    const times = { issuedAtMs: terms.adoptedAtMs, notBeforeMs: issuedAtMs, notAfterMs, installedAtMs: this.#clock.nowMs() };
    const { chain, privateKey } = found;
    const pair: InstalledPair = { specHash: spec.specHash, serial, ...times, adopted, name: spec.name, chain, privateKey };
    this.pairs.set(spec.name, pair);
    return pair;
  }

  async ensurePendingKey(spec: ResolvedCertificate): Promise<PendingPair> {
    const known = this.waiting.get(spec.name);
    if (known && known.specHash === spec.specHash) return known;
    this.keysMade += 1;
    const made: PendingPair = { privateKey: someKey, keyAlgorithm: spec.keyAlgorithm, specHash: spec.specHash };
    this.waiting.set(spec.name, made);
    return made;
  }

  async savePendingChain(name: string, chain: Buffer[], issuedAtMs: number): Promise<void> {
    this.waiting.set(name, { ...this.waiting.get(name)!, chain, issuedAtMs });
  }

  async discardPending(name: string): Promise<void> {
    this.waiting.delete(name);
  }

  async install(spec: ResolvedCertificate): Promise<InstalledPair> {
    if (this.installError) throw this.installError;
    const { chain, privateKey, specHash } = this.waiting.get(spec.name)!;
    const { serial, issuedAtMs, notAfterMs } = JSON.parse(chain![0]!.toString()) as FakeLeaf;
    const meta: PairMeta = {
      specHash,
      serial,
      issuedAtMs,
      notBeforeMs: issuedAtMs - 60_000,
      notAfterMs,
      installedAtMs: this.#clock.nowMs(),
    };
    const pair: InstalledPair = { ...meta, name: spec.name, chain: chain!, privateKey };
    this.pairs.set(spec.name, pair);
    this.waiting.delete(spec.name);
    return pair;
  }

  async restore(spec: ResolvedCertificate): Promise<FileFault[]> {
    if (this.restoreError) throw this.restoreError;
    const faults = this.faults.get(spec.name) ?? [];
    this.faults.delete(spec.name);
    return faults;
  }

  async remove(name: string): Promise<void> {
    this.removed.push(name);
    this.pairs.delete(name);
    this.waiting.delete(name);
  }
}

export interface FakeCall {
  name: string;
  reason: IssueReason;
  specHash: string;
  atMs: number;
}

export class FakeCoordinator implements CoordinatorApi {
  readonly calls: FakeCall[] = [];
  /** Answers with this while it is set. */
  failure: EvercertError | undefined;
  /** How long a call takes. */
  callMs = 0;
  mostInFlight = 0;
  keyPair = { version: '1', privateKeyPem: '', publicKeyPem: '' };
  #inFlight = 0;
  #serial = 0;
  readonly #clock: FakeClock;
  readonly lifetimeMs: number;

  constructor(clock: FakeClock, lifetimeMs = 60_000) {
    this.#clock = clock;
    this.lifetimeMs = lifetimeMs;
  }

  async issueCertificate(request: {
    name: string;
    specHash: string;
    reason: IssueReason;
  }): Promise<{ chain: Buffer[]; issuedAtMs: number }> {
    this.calls.push({ name: request.name, reason: request.reason, specHash: request.specHash, atMs: this.#clock.nowMs() });
    this.#inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    try {
      if (this.callMs > 0) await this.#clock.sleep(this.callMs);
      if (this.failure) throw this.failure;
    } finally {
      this.#inFlight -= 1;
    }
    this.#serial += 1;
    const issuedAtMs = this.#clock.nowMs();
    const leaf: FakeLeaf = { serial: `serial-${this.#serial}`, issuedAtMs, notAfterMs: issuedAtMs + this.lifetimeMs };
    return { chain: [Buffer.from(JSON.stringify(leaf))], issuedAtMs };
  }

  /** Renewal of what is adopted is due after so long. */
  adoptedRenewMs = 30_000;
  adoptionFailure: EvercertError | undefined;
  readonly adoptions: string[] = [];

  async adoptCertificate({ name, chain }: { name: string; chain: Buffer[] }): Promise<Adoption> {
    const { serial } = JSON.parse(chain[0]!.toString()) as FakeLeaf;
    this.adoptions.push(`${name} ${serial}`);
    if (this.adoptionFailure) throw this.adoptionFailure;
    const adoptedAtMs = this.#clock.nowMs();
    return { adoptedAtMs, renewAtMs: adoptedAtMs + this.adoptedRenewMs, differences: ['key: RSA 2048 becomes ECDSA P-384'] };
  }

  async acquireRestartLease(): Promise<void> {
    if (this.failure) throw this.failure;
  }

  async releaseRestartLease(): Promise<void> {}

  renewIdentity(): ReturnType<CoordinatorApi['renewIdentity']> {
    throw new EvercertError('Internal', 'not in this test');
  }

  async getKeyPair(): Promise<{ version: string; privateKeyPem: string; publicKeyPem: string }> {
    if (this.failure) throw this.failure;
    return this.keyPair;
  }
}

export class FakePlainFiles implements PlainFiles {
  readonly written = new Map<string, PlainFileSpec>();
  error: Error | undefined;
  writes = 0;

  async write(files: PlainFileSpec[]): Promise<boolean> {
    if (this.error) throw this.error;
    let wrote = false;
    for (const file of files) {
      if ((await this.inspect(file)).length === 0) continue;
      this.written.set(file.path, file);
      this.writes += 1;
      wrote = true;
    }
    return wrote;
  }

  async inspect(file: PlainFileSpec): Promise<FileFault[]> {
    const there = this.written.get(file.path);
    if (!there) return [{ path: file.path, reason: 'Missing', message: 'it does not exist' }];
    return there.content.equals(file.content) ? [] : [{ path: file.path, reason: 'Foreign', message: 'it has another content' }];
  }

  read: PlainFiles['read'] = async (path) => {
    const there = this.written.get(path);
    return there && { content: there.content, mode: there.mode, uid: 0, gid: 0 };
  };

  async remove(path: string): Promise<void> {
    this.written.delete(path);
  }
}

/** A manager among fakes. */
export function managerSetUp(options: { lifetimeMs?: number; random?: () => number } = {}) {
  const clock = new FakeClock();
  const files = new FakeFiles(clock);
  const api = new FakeCoordinator(clock, options.lifetimeMs);
  const events = new EventLog();
  const folder = memoryFolder();
  const counters = new CounterStore({ folder, logger: silentLogger });
  const activated: string[] = [];
  const create = (): CertificateManager =>
    new CertificateManager({
      files,
      api,
      clock,
      random: options.random ?? (() => 0.5),
      logger: silentLogger,
      events,
      counters,
      activate: (certificate, pair) => {
        activated.push(`${certificate.spec.name} ${pair.serial}`);
        counters.update(certificate.spec.name, { activatedSerial: pair.serial });
      },
      deactivate: () => {},
      onChange: () => {},
      makeCsr: async () => Buffer.from('a request'),
    });
  return { clock, files, api, events, folder, counters, activated, create };
}
