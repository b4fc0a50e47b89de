import { basename, join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { writeFileDurable } from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { generateKeyPair, pairMatches, parseCertificate, spkiSha256 } from '@evercert/shared/x509';
import { changeFiles, inspectFiles, placed, RollbackError } from './change.ts';
import { checkPair } from './check.ts';
import { closeToOthers, declaredPaths, findInPlace, inspectInPlace } from './in-place.ts';
import { leaveHomes, takeAway, undeclaredPaths } from './layout.ts';
import { declaredFiles, type Material, type RenderedFile, renderFiles } from './outputs.ts';
import { createOwnerLookup, type OwnerLookup, type OwnerLookupOptions } from './owners.ts';
import { assertName, isName, PathPolicy, type PathPolicyOptions } from './paths.ts';
import { assertNoFolderInTheWay, type PairStrategy } from './placement.ts';
import { step } from './points.ts';
import { recoverCertificate } from './recover.ts';
import { rescuePair } from './rescue.ts';
import { SerialByName } from './serial.ts';
import { CertificateState } from './state.ts';
import { ensurePrivateFolder, listFolder, readBounded } from './tree.ts';
import type { CertificateFiles, FileFault, FoundPair, InstalledPair, PairMeta, PendingPair } from './types.ts';

export interface CertificateFilesOptions extends PathPolicyOptions {
  /** The agent's own folder; made with mode 0700 when it is missing. */
  stateDir: string;
  clock: Clock;
  logger: Logger;
  /** `symlink` by default. A change takes effect at the next installation or restore. */
  pairStrategy?: PairStrategy;
  /** Where owners' and groups' names are looked up; /etc/passwd and /etc/group by default. */
  accounts?: OwnerLookupOptions;
}

/** The certificates' files of one node. One process at a time may own a state folder. */
export function createCertificateFiles(options: CertificateFilesOptions): CertificateFiles {
  return new FileBackedCertificates(options);
}

export class FileBackedCertificates implements CertificateFiles {
  readonly #options: CertificateFilesOptions;
  readonly #paths: PathPolicy;
  readonly #owners: OwnerLookup;
  readonly #strategy: PairStrategy;
  readonly #serial = new SerialByName();

  constructor(options: CertificateFilesOptions) {
    this.#options = options;
    this.#paths = new PathPolicy(options);
    this.#owners = createOwnerLookup(options.accounts);
    this.#strategy = options.pairStrategy ?? 'symlink';
  }

  async recover(): Promise<string[]> {
    const did: string[] = [];
    for (const name of await this.names()) did.push(...(await this.#serial.run(name, () => this.#recover(name))));
    return did;
  }

  async names(): Promise<string[]> {
    return (await listFolder(join(this.#options.stateDir, 'certificates'))).filter(isName);
  }

  async ensurePendingKey(spec: ResolvedCertificate): Promise<PendingPair> {
    const usable = async (): Promise<PendingPair | undefined> => {
      const found = await (await this.#state(spec.name)).pending();
      return found?.keyAlgorithm === spec.keyAlgorithm && found.specHash === spec.specHash ? found : undefined;
    };
    const waiting = await this.#serial.run(spec.name, usable);
    if (waiting !== undefined) return waiting;
    // Outside the turn: an RSA key takes seconds, in which inspections go on.
    const { privateKey } = await generateKeyPair(spec.keyAlgorithm);
    return this.#serial.run(spec.name, async () => {
      const meanwhile = await usable();
      if (meanwhile !== undefined) return meanwhile;
      await (await this.#state(spec.name)).writePendingKey(privateKey, spec.specHash);
      return { privateKey, keyAlgorithm: spec.keyAlgorithm, specHash: spec.specHash };
    });
  }

  savePendingChain(name: string, chain: Buffer[], issuedAtMs: number): Promise<void> {
    return this.#serial.run(name, async () => {
      const state = await this.#state(name);
      const pending = await state.pending();
      if (pending === undefined)
        throw new EvercertError('FailedPrecondition', `${name}: no key waits for a certificate; make a new request`);
      const [leaf] = chain;
      if (leaf === undefined || !pairMatches(leaf, pending.privateKey))
        throw new EvercertError('PairMismatch', `${name}: the certificate is for another key than the one that waits; make a new request`);
      await state.writePendingChain(chain, pending.specHash, issuedAtMs);
    });
  }

  discardPending(name: string): Promise<void> {
    return this.#serial.run(name, async () => (await this.#state(name)).clearPending());
  }

  pending(name: string): Promise<PendingPair | undefined> {
    return this.#serial.run(name, async () => this.#peek(name).pending());
  }

  install(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<InstalledPair> {
    return this.#serial.run(spec.name, () => this.#install(spec, trustAnchors));
  }

  findInPlace(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<{ found: FoundPair } | { why?: string }> {
    this.#assertDeclared(spec);
    return this.#serial.run(spec.name, () => findInPlace(spec, trustAnchors, this.#paths, this.#options.clock.nowMs()));
  }

  adopt(spec: ResolvedCertificate, found: FoundPair, terms: { adoptedAtMs: number; renewAtMs: number }): Promise<InstalledPair> {
    return this.#serial.run(spec.name, () => this.#adopt(spec, found, terms));
  }

  installed(name: string): Promise<InstalledPair | undefined> {
    return this.#serial.run(name, () => this.#installed(name));
  }

  inspect(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]> {
    return this.#serial.run(spec.name, () => this.#inspect(spec, trustAnchors));
  }

  restore(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]> {
    return this.#serial.run(spec.name, () => this.#restore(spec, trustAnchors));
  }

  remove(name: string): Promise<void> {
    return this.#serial.run(name, async () => {
      const state = this.#peek(name);
      const layout = await state.layout();
      await takeAway(layout, name, undeclaredPaths(layout, []), this.#paths);
      await leaveHomes(layout.homes, name, this.#paths);
      await state.removeAll();
    });
  }

  async #install(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<InstalledPair> {
    this.#assertDeclared(spec);
    const state = await this.#state(spec.name);
    const pending = await state.pending();
    const chain = pending?.chain;
    if (pending === undefined || chain === undefined)
      throw new EvercertError('FailedPrecondition', `${spec.name}: no certificate waits to be installed; request one first`);
    const pair = { ...pending, chain };
    const nowMs = this.#options.clock.nowMs();
    const leaf = checkPair(spec, pair, trustAnchors, nowMs);
    await assertNoFolderInTheWay(declaredFiles(spec), this.#paths);
    const meta: PairMeta = {
      specHash: spec.specHash,
      serial: leaf.serial,
      issuedAtMs: (await state.pendingIssuedAtMs()) ?? leaf.notBefore.getTime(),
      notBeforeMs: leaf.notBefore.getTime(),
      notAfterMs: leaf.notAfter.getTime(),
      installedAtMs: nowMs,
    };
    const label = versionLabel(nowMs, leaf.serial);
    const version = await state.freeVersion(label);
    const previous = await state.installedVersion();
    const files = placed(await this.#render(state, version, spec, { ...pair, trustAnchors }, true));
    await this.#journalled(state, { pair: version, spec, trustAnchors }, async () => {
      try {
        await step('state-pair', () => state.writePair(version, pair, meta));
        for (const { keepAs, content } of files) if (keepAs !== undefined) await state.keep(version, keepAs, content);
        const commit = { commit: () => state.commit(version), uncommit: () => state.uncommit(previous) };
        await changeFiles({ ...this.#changeBase(state, spec.name), files, label, reuse: false, ...commit });
        await step('clear-pending', () => state.clearPending());
      } catch (error) {
        if (!(error instanceof RollbackError)) await this.#quietly(spec.name, () => state.sweep());
        throw error;
      }
    });
    await this.#quietly(spec.name, () => step('prune', () => state.sweep()));
    return { name: spec.name, ...meta, chain, privateKey: pair.privateKey };
  }

  /** Only the state changes, by one rename: no journal is needed. */
  async #adopt(
    spec: ResolvedCertificate,
    { chain, privateKey, paths }: FoundPair,
    { adoptedAtMs, renewAtMs }: { adoptedAtMs: number; renewAtMs: number },
  ): Promise<InstalledPair> {
    const leaf = parseCertificate(chain[0] as Buffer);
    const state = await this.#state(spec.name);
    const nowMs = this.#options.clock.nowMs();
    const meta: PairMeta = {
      specHash: spec.specHash,
      serial: leaf.serial,
      issuedAtMs: adoptedAtMs,
      notBeforeMs: leaf.notBefore.getTime(),
      notAfterMs: leaf.notAfter.getTime(),
      installedAtMs: nowMs,
      adopted: { renewAtMs, paths, declared: declaredPaths(spec) },
    };
    const version = await state.freeVersion(versionLabel(nowMs, leaf.serial));
    await step('state-pair', () => state.writePair(version, { chain, privateKey }, meta));
    await step('commit', () => state.commit(version));
    await this.#quietly(spec.name, () => state.sweep());
    return { name: spec.name, ...meta, chain, privateKey };
  }

  async #installed(name: string): Promise<InstalledPair | undefined> {
    const state = this.#peek(name);
    return (await state.installed(name)) ?? (await rescuePair(name, state, this.#paths, this.#options));
  }

  async #inspect(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]> {
    this.#assertDeclared(spec);
    const state = this.#peek(spec.name);
    const pair = await this.#installed(spec.name);
    const version = await state.installedVersion();
    if (pair === undefined || version === undefined) return this.#inspectWithout(spec);
    const { adopted } = pair;
    if (adopted !== undefined) return inspectInPlace(spec, { ...pair, adopted }, this.#paths);
    const files = await this.#render(state, version, spec, { ...pair, trustAnchors }, false);
    return inspectFiles(spec.name, files, await state.layout(), this.#strategy, this.#paths);
  }

  /** Without an installed pair nothing can be right: what is there is foreign. */
  async #inspectWithout(spec: ResolvedCertificate): Promise<FileFault[]> {
    const files: RenderedFile[] = [];
    for (const file of declaredFiles(spec)) files.push({ ...file, ...(await this.#owners(file)) });
    return inspectFiles(spec.name, files, await this.#peek(spec.name).layout(), this.#strategy, this.#paths);
  }

  async #restore(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]> {
    const faults = await this.#inspect(spec, trustAnchors);
    if (faults.length === 0) return faults;
    const state = await this.#state(spec.name);
    const pair = await this.#installed(spec.name);
    const version = await state.installedVersion();
    if (pair === undefined || version === undefined)
      throw new EvercertError('NotFound', `${spec.name}: there is no installed pair to restore from; a new certificate must be requested`);
    await assertNoFolderInTheWay(declaredFiles(spec), this.#paths);
    if (pair.adopted === undefined)
      await this.#journalled(state, { pair: version, spec, trustAnchors }, () => this.#place(state, version, spec, pair, trustAnchors));
    else if (faults.every(({ reason }) => reason === 'WrongMode')) for (const { path } of faults) await closeToOthers(path, this.#paths);
    else await this.#settle(state, spec, pair, trustAnchors);
    const left = await this.#inspect(spec, trustAnchors);
    if (left.length === 0) return faults;
    const texts = left.map((fault) => fault.message).join('; ');
    throw new EvercertError('FileSystem', `${spec.name}: restoring did not last: ${texts}; look for another process that writes there`);
  }

  /** An adopted pair whose files were damaged: from now on they are the agent's own, in the form that is declared. */
  async #settle(state: CertificateState, spec: ResolvedCertificate, pair: InstalledPair, trustAnchors: Buffer[]): Promise<void> {
    const { name, chain, privateKey, adopted: _, ...meta } = pair;
    const version = await state.freeVersion(versionLabel(this.#options.clock.nowMs(), pair.serial));
    await this.#journalled(state, { pair: version, spec, trustAnchors }, async () => {
      await step('state-pair', () => state.writePair(version, { chain, privateKey }, meta));
      await step('commit', () => state.commit(version));
      await this.#place(state, version, spec, pair, trustAnchors);
    });
    await this.#quietly(name, () => state.sweep());
  }

  /** Puts the installed pair's files where they belong; what is right stays. */
  async #place(
    state: CertificateState,
    version: string,
    spec: ResolvedCertificate,
    pair: InstalledPair,
    trustAnchors: Buffer[],
  ): Promise<void> {
    const files = placed(await this.#render(state, version, spec, { ...pair, trustAnchors }, true));
    for (const { keepAs, content } of files) {
      if (keepAs !== undefined && (await state.kept(version, keepAs)) === undefined) await state.keep(version, keepAs, content);
    }
    const label = versionLabel(this.#options.clock.nowMs(), pair.serial);
    await changeFiles({ ...this.#changeBase(state, spec.name), files, label, reuse: true });
  }

  async #recover(name: string): Promise<string[]> {
    const state = await this.#state(name);
    const place = async (version: string, spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<InstalledPair | undefined> => {
      const pair = await this.#installed(name);
      if (pair === undefined) return undefined;
      this.#assertDeclared(spec);
      await assertNoFolderInTheWay(declaredFiles(spec), this.#paths);
      await this.#place(state, version, spec, pair, trustAnchors);
      const pending = await state.pending();
      if (pending !== undefined && spkiSha256(pending.privateKey) === spkiSha256(pair.privateKey)) await state.clearPending();
      return pair;
    };
    return recoverCertificate({ name, state, paths: this.#paths, logger: this.#options.logger, place });
  }

  /** The journal stands while declared paths change; it stays behind only when a failed change could not be taken back. */
  async #journalled(
    state: CertificateState,
    change: { pair: string; spec: ResolvedCertificate; trustAnchors: Buffer[] },
    action: () => Promise<void>,
  ): Promise<void> {
    const trustAnchors = change.trustAnchors.map((der) => der.toString('base64'));
    await step('journal', () => state.writeJournal({ schema: 1, pair: change.pair, spec: change.spec, trustAnchors }));
    try {
      await action();
    } catch (error) {
      if (error instanceof RollbackError) throw error.original;
      await this.#quietly(change.spec.name, () => state.clearJournal());
      throw error;
    }
    await step('clear-journal', () => state.clearJournal());
  }

  /** For tidying up: its failure is logged, and the next start tries again. */
  async #quietly(name: string, action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#options.logger.warn('tidying up failed; the next start does it', { certificate: name, error: describeError(error) });
    }
  }

  #render(state: CertificateState, version: string, spec: ResolvedCertificate, material: Material, make: boolean): Promise<RenderedFile[]> {
    return renderFiles(spec, material, {
      owners: this.#owners,
      real: (path) => this.#paths.real(path),
      present: (path) => this.#present(path),
      remembered: (path) => state.remembered(path),
      remember: (path, content) => state.remember(path, content),
      setAside: (path, content) => this.#setAside(spec.name, path, content),
      kept: (name) => state.kept(version, name),
      make,
    });
  }

  async #present(path: string): Promise<Buffer | undefined> {
    const target = await this.#paths.insideTarget(path);
    return target === undefined ? undefined : readBounded(target);
  }

  /** One for each path: the newest. It may hold a private key. */
  async #setAside(name: string, path: string, content: Buffer): Promise<void> {
    const folder = join(this.#options.stateDir, 'damaged');
    await ensurePrivateFolder(folder);
    const copy = join(folder, `${name}-${basename(path)}`);
    await writeFileDurable(copy, content, { mode: 0o600 });
    this.#options.logger.warn('A kubeconfig that cannot be read is written anew; what was there is kept', {
      certificate: name,
      path,
      copy,
    });
  }

  #changeBase(state: CertificateState, name: string) {
    const { logger, clock } = this.#options;
    return { name, state, paths: this.#paths, strategy: this.#strategy, logger, nowMs: () => clock.nowMs() };
  }

  #assertDeclared(spec: ResolvedCertificate): void {
    assertName(spec.name);
    for (const file of declaredFiles(spec)) this.#paths.assertAllowed(file.path);
  }

  #peek(name: string): CertificateState {
    assertName(name);
    return new CertificateState(join(this.#options.stateDir, 'certificates', name));
  }

  /** The state with its folders made. */
  async #state(name: string): Promise<CertificateState> {
    const state = this.#peek(name);
    for (const folder of [this.#options.stateDir, join(this.#options.stateDir, 'certificates')]) await ensurePrivateFolder(folder);
    await state.open();
    return state;
  }
}

/** As `20261124T204507Z-0a1b2c3d`: sorts by time, and tells the certificate. */
function versionLabel(atMs: number, serial: string): string {
  return `${new Date(atMs).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-${serial.slice(0, 8)}`;
}
