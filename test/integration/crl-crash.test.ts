import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { freePort, LocalCoordinator, prepareRunFolder, type RunFolder } from '@evercert/local';
import { ClusterSpec } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { parseCrl } from '@evercert/shared/x509';
import { temporaryFolder, until } from '../support/live.ts';

const issuers = ['cluster-ca', 'etcd-ca', 'front-proxy-ca'];

describe('a coordinator that dies while it puts out a CRL', () => {
  let folder: RunFolder;
  let coordinator: LocalCoordinator;
  let url: string;

  beforeEach(async () => {
    folder = prepareRunFolder(temporaryFolder('crl-crash'), systemClock.nowMs());
    const taken = new Set<number>();
    const port = await freePort('127.0.0.1', Math.random, taken);
    const webPort = await freePort('127.0.0.1', Math.random, taken);
    url = `http://127.0.0.1:${webPort}`;
    const config = { crl: { lifetime: '4s' }, log: { level: 'warn', format: 'json' } };
    coordinator = new LocalCoordinator({ folder, port, webPort, config, autoRestart: false, clock: systemClock, notify: () => {} });
  });

  afterEach(async () => {
    await coordinator.stop();
    folder.release();
    rmSync(folder.path, { recursive: true, force: true });
  });

  for (const point of ['coordinator.crl.before-commit', 'coordinator.crl.after-commit']) {
    it(`at ${point} never gives one number to two lists, and goes on where it was`, async () => {
      /** By CA and number: what was served under it. */
      const seen = new Map<string, string>();
      const newest = new Map<string, bigint>();
      const look = async (): Promise<void> => {
        for (const issuer of issuers) {
          const response = await fetch(`${url}/crl/demo/${issuer}.crl`).catch(() => undefined);
          if (response?.status !== 200) continue;
          const der = Buffer.from(await response.arrayBuffer());
          const { number = -1n } = parseCrl(der);
          const [key, content] = [`${issuer}/${number}`, hash('sha256', der)];
          assert.equal(seen.get(key) ?? content, content, `${key} has two contents`);
          assert.ok(number >= (newest.get(issuer) ?? 0n), `${issuer} went back to ${number}`);
          seen.set(key, content);
          newest.set(issuer, number);
        }
      };
      // Three lists at the beginning, then each anew every two seconds.
      await coordinator.start({ EVERCERT_FAULT_POINT: `${point}@5` });
      await (await coordinator.admin()).createCluster('demo', ClusterSpec.fromPartial({}));
      await until('the coordinator to die', 15_000, async () => {
        await look();
        return coordinator.process.lastExit !== undefined;
      });
      assert.equal(coordinator.process.lastExit?.signal, 'SIGKILL');
      assert.equal(newest.size, issuers.length);
      const before = seen.size;
      await coordinator.start();
      await until('newer lists of each CA', 15_000, async () => {
        await look();
        return seen.size >= before + issuers.length;
      });
    });
  }
});
