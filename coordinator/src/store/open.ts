import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { EtcdConfig, StoreConfig } from './config.ts';
import { startCompaction } from './etcd/compaction.ts';
import { type EtcdStore, openEtcdStore } from './etcd/store.ts';
import { refuseMarked } from './mark.ts';
import { openSqliteStore } from './sqlite/store.ts';
import type { Store } from './types.ts';

export interface StoreLocation {
  store: StoreConfig;
  /** Folder of the SQLite file. */
  dataDir: string;
}

export interface StoreDependencies {
  clock: Clock;
  logger: Logger;
  random?: () => number;
  /** False: forget nothing of etcd's past (for a command that looks only). Default: as configured. */
  compact?: boolean;
  /** True: open a store that was moved away, or is being filled, too. */
  marked?: boolean;
}

/** Opens the store that a configuration names. Errors: as openSqliteStore and openEtcdStore; FailedPrecondition: its content was moved to another, or is not complete. */
export async function openStore(location: StoreLocation, dependencies: StoreDependencies): Promise<Store> {
  const store = await openUnmarked(location, dependencies);
  try {
    if (!dependencies.marked) await refuseMarked(store, describeLocation(location));
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openUnmarked({ store, dataDir }: StoreLocation, dependencies: StoreDependencies): Promise<Store> {
  if (store.etcd !== undefined) return openConfiguredEtcd(store.etcd, dependencies);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  return openSqliteStore({ file: sqliteFile(dataDir), clock: dependencies.clock, logger: dependencies.logger });
}

/** The same for a store that is known to be etcd. */
export async function openConfiguredEtcd(
  config: EtcdConfig,
  { clock, logger, random, compact = true }: StoreDependencies,
): Promise<EtcdStore> {
  const { endpoints, caFile, certFile, keyFile, keyPrefix, dialTimeout, requestTimeout, compactAfter } = config;
  const store = await openEtcdStore({
    endpoints,
    files: { caFile, certFile, keyFile },
    // So that `/team-a` does not see `/team-ab`.
    keyPrefix: keyPrefix === '' ? '' : `${keyPrefix}/`,
    dialTimeoutMs: dialTimeout,
    requestTimeoutMs: requestTimeout,
    clock,
    logger,
    ...(random && { random }),
  });
  if (compact && compactAfter !== null) startCompaction(store, { clock, logger, keepMs: compactAfter * 1000 });
  return store;
}

export function sqliteFile(dataDir: string): string {
  return join(dataDir, 'store.db');
}

/** For messages: where a store is. */
export function describeLocation({ store, dataDir }: StoreLocation): string {
  if (store.etcd === undefined) return `SQLite ${sqliteFile(dataDir)}`;
  const { endpoints, keyPrefix } = store.etcd;
  return `etcd ${endpoints.toSorted().join(', ')}${keyPrefix === '' ? '' : ` under ${keyPrefix}`}`;
}
