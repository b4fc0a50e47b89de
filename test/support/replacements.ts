/** What tests of replacement in a local cluster share: the phases that a watch shows, the nodes, the `evercert` command. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { LocalCluster, LocalNode } from '@evercert/local';
import type { Node, Replacement, WatchResponse } from '@evercert/proto';
import { until } from './live.ts';
import { type RunResult, repositoryRoot, run } from './tools.ts';

/** Follows a cluster's nodes as `evercert get nodes -w` does. */
export class PhaseWatch {
  readonly #phases = new Map<string, string[]>();
  readonly #cancel: () => void;
  readonly ended: Promise<void>;

  private constructor(stream: AsyncIterable<WatchResponse> & { cancel(): void }) {
    this.#cancel = () => stream.cancel();
    this.ended = this.#follow(stream);
  }

  static async open(cluster: LocalCluster): Promise<PhaseWatch> {
    const { client } = await cluster.admin();
    return new PhaseWatch(
      client.watch({ cluster: cluster.name, resources: ['nodes'] }) as AsyncIterable<WatchResponse> & { cancel(): void },
    );
  }

  /** Each phase as it was entered, the first included. */
  of(node: string): string[] {
    return this.#phases.get(node) ?? [];
  }

  /** Whether these phases were entered in this order, whatever came between. */
  saw(node: string, phases: readonly string[]): boolean {
    let at = -1;
    return phases.every((phase) => {
      at = this.of(node).indexOf(phase, at + 1);
      return at >= 0;
    });
  }

  async close(): Promise<void> {
    this.#cancel();
    await this.ended;
  }

  async #follow(stream: AsyncIterable<WatchResponse>): Promise<void> {
    try {
      for await (const { object } of stream) {
        if (object?.$case !== 'node') continue;
        const { name, status } = object.value;
        const phases = this.of(name);
        if (status && phases.at(-1) !== status.phase) this.#phases.set(name, [...phases, status.phase]);
      }
    } catch (error) {
      // Broken off by `close`, or by the end of the coordinator.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
  }
}

export async function nodeOf(cluster: LocalCluster, name: string): Promise<Node> {
  const found = (await (await cluster.admin()).listNodes(cluster.name)).find((each) => each.name === name);
  assert.ok(found, `node ${name} is registered`);
  return found;
}

export async function replacementsOf(cluster: LocalCluster, node = ''): Promise<Replacement[]> {
  const admin = await cluster.admin();
  return (await admin.call(admin.client.listReplacements, { cluster: cluster.name, id: '', node })).replacements;
}

/** Until the node is so; a failure tells how it was last. */
export async function untilNode(
  cluster: LocalCluster,
  name: string,
  what: string,
  timeoutMs: number,
  is: (node: Node) => boolean,
): Promise<Node> {
  let last: Node | undefined;
  const ask = async (): Promise<boolean> => {
    last = await nodeOf(cluster, name);
    return is(last);
  };
  await until(what, timeoutMs, ask, 200).catch((error: unknown) => {
    throw new Error(
      `${String(error)}; the node: ${JSON.stringify({ ...last?.status, conditions: undefined, files: undefined })}, ${JSON.stringify(last?.replacement)}`,
      {
        cause: error,
      },
    );
  });
  return last as Node;
}

/** Refuses to renew what the node has now, by serial number; its successors are not matched. */
export async function revokePresent(cluster: LocalCluster, object: string, names: readonly string[]): Promise<void> {
  const nodes = await Promise.all(names.map((name) => nodeOf(cluster, name)));
  const entries = nodes.flatMap((node) =>
    (node.status?.certificates ?? []).map(({ serial }) => `  - { kind: serialnumber, serialNumber: "${serial}" }\n`),
  );
  const yaml = `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: ${object}, namespace: kube-system }\nspec:\n  revocations:\n${entries.join('')}`;
  const admin = await cluster.admin();
  await admin.call(admin.client.apply, { cluster: cluster.name, documents: [{ source: `${object}.yaml`, yaml }], dryRun: false });
}

export function evercert(cluster: LocalCluster, ...args: string[]): Promise<RunResult> {
  const env = { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml') };
  return run(join(repositoryRoot, 'cli', 'bin', 'evercert'), args, { env, timeoutMs: 120_000 });
}

export function pids(nodes: readonly LocalNode[]): Record<string, number | undefined> {
  return Object.fromEntries(nodes.map(({ name, agent }) => [name, agent.pid]));
}

/** The newest of those that are listed, once it has ended. */
export async function endedReplacement(list: () => Promise<Replacement[]>, withinMs: number): Promise<Replacement> {
  let last: Replacement | undefined;
  await until('the replacement to end', withinMs, async () => {
    last = (await list())[0];
    return last?.state === 'Succeeded' || last?.state === 'Cancelled';
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; ${JSON.stringify(last)}`, { cause: error });
  });
  return last as Replacement;
}
