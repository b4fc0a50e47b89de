import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { writeFileDurable } from '@evercert/shared/files';
import { etcdArguments } from '../etcd/member.ts';
import type { Notify } from '../supervisor/events.ts';
import { freePort } from '../supervisor/ports.ts';
import { SupervisedProcess } from '../supervisor/process.ts';
import type { RunFolder } from '../supervisor/run-folder.ts';
import { makeStorePki } from './pki.ts';

export interface StateEtcdOptions {
  binary: string;
  folder: RunFolder;
  autoRestart: boolean;
  clock: Clock;
  notify: Notify;
  random: () => number;
  takenPorts: Set<number>;
}

const address = '127.0.0.1';
const graceMs = 10_000;
const kekBytes = 32;

/** The etcd in which several coordinators keep their state: one member with certificates of its own, apart from the cluster's etcd. */
export class StateEtcd {
  readonly process: SupervisedProcess;
  /** What each coordinator's configuration says of it: where the state is, and the CA keys in it. */
  readonly coordinatorConfig: Record<string, unknown>;

  private constructor(process: SupervisedProcess, coordinatorConfig: Record<string, unknown>) {
    this.process = process;
    this.coordinatorConfig = coordinatorConfig;
  }

  /** Makes folder, certificates and key-encryption key; starts nothing. */
  static async prepare({ binary, folder, autoRestart, clock, notify, random, takenPorts }: StateEtcdOptions): Promise<StateEtcd> {
    const home = join(folder.path, 'state-etcd');
    const dataDir = join(home, 'data');
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const pkiDir = join(home, 'pki');
    const files = await makeStorePki(pkiDir, clock.nowMs());
    const kekFile = join(home, 'ca-kek');
    await writeFileDurable(kekFile, `${randomBytes(kekBytes).toString('base64')}\n`, { mode: 0o600 });
    const clientPort = await freePort(address, random, takenPorts);
    const endpoint = { name: 'state-etcd', address, clientPort, peerPort: await freePort(address, random, takenPorts) };
    const args = [
      ...etcdArguments({ endpoint, members: [endpoint], pkiDir, dataDir, clusterToken: 'state' }),
      // The coordinators see to it.
      '--auto-compaction-retention=0',
    ];
    const logPath = join(folder.logs, 'state-etcd.log');
    const process = new SupervisedProcess(
      { name: 'state-etcd', command: binary, args, cwd: folder.path, logPath, graceMs, autoRestart },
      clock,
      notify,
    );
    const store = { etcd: { endpoints: [`${address}:${clientPort}`], ...files } };
    return new StateEtcd(process, { store, caKeys: { provider: 'store', store: { kekFile } } });
  }
}
