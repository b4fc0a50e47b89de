/** What the tests share that kill a coordinator at every place of a replacement, or of a rotation: how it dies, and what they ask of the replacements of their clusters. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AdminApi, LocalCoordinator } from '@evercert/local';
import type { Replacement } from '@evercert/proto';

/** A coordinator that dies at a fault point, once it is armed for it. */
export class DoomedCoordinator {
  readonly #coordinator: LocalCoordinator;
  readonly #folder: string;
  readonly #what: string;
  #point: string | undefined;

  /** @param what whose fault points: they begin with it. */
  constructor(coordinator: LocalCoordinator, folder: string, what = 'replacement') {
    this.#coordinator = coordinator;
    this.#folder = folder;
    this.#what = what;
  }

  /** Runs one that will die at the point, and finishes whatever was under way before; undefined: one that lives. */
  async runningFor(point: string | undefined): Promise<void> {
    if (this.#point === point && this.#coordinator.process.running) return;
    await this.#coordinator.process.kill();
    if (point !== undefined) rmSync(this.#file(point), { force: true });
    const env = point === undefined ? {} : { EVERCERT_FAULT_POINT: `${this.#what}-${point}`, EVERCERT_FAULT_ARM: this.#file(point) };
    await this.#coordinator.start(env);
    this.#point = point;
  }

  /** From now on it dies when it comes to its point. */
  arm(point: string): void {
    writeFileSync(this.#file(point), '');
  }

  #file(point: string): string {
    return join(this.#folder, `${point}.armed`);
  }
}

export async function setPause(admin: AdminApi, cluster: string, paused: boolean): Promise<void> {
  await admin.call(admin.client.setReplacementPause, { cluster, paused, reason: paused ? 'not its turn' : '' });
}

export async function replacementsOf(admin: AdminApi, cluster: string): Promise<Replacement[]> {
  return (await admin.call(admin.client.listReplacements, { cluster, id: '', node: '' })).replacements;
}

/** Ids of the bootstrap tokens of a cluster that could still be used. */
export async function usableTokens(admin: AdminApi, cluster: string): Promise<string[]> {
  const { tokens } = await admin.call(admin.client.listTokens, { cluster });
  return tokens.filter(({ uses, maxUses }) => uses < maxUses).map(({ id }) => id);
}
