/** Transactions per second of the two stores: SQLite in a file, and one real etcd member over mTLS, on the same disk. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEtcdStore, openSqliteStore, type Store } from '@evercert/coordinator/store';
import { type EtcdEndpoint, etcdArguments, findEtcd, freePort, SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { retry } from '@evercert/shared/retry';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

export interface StoreResult {
  /** Transactions per second, by how many are in flight. */
  perSecond: Record<number, number>;
}

export interface StoreOptions {
  inFlight: readonly number[];
  seconds: number;
}

const valueBytes = 1024;
const keys = 5000;

export async function benchStores(options: StoreOptions): Promise<{ sqlite: StoreResult; etcd?: StoreResult }> {
  const folder = await mkdtemp(join(tmpdir(), 'evercert-bench-store-'));
  try {
    const sqlite = await openSqliteStore({ file: join(folder, 'store.db'), clock: systemClock, logger: silentLogger });
    const result = { sqlite: await benchStore(sqlite, options) };
    const program = findEtcd();
    return program === undefined ? result : { ...result, etcd: await benchEtcd(folder, program, options) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Each transaction compares one key and writes it, 1 KiB, durably. Closes the store. */
async function benchStore(store: Store, { inFlight, seconds }: StoreOptions): Promise<StoreResult> {
  const value = Buffer.alloc(valueBytes, 7);
  const perSecond: Record<number, number> = {};
  let next = 0;
  try {
    for (const count of inFlight) {
      const end = systemClock.monotonicMs() + seconds * 1000;
      let done = 0;
      const work = async (): Promise<void> => {
        let revision = 0;
        for (let key = `/bench/${next++ % keys}-${count}`; systemClock.monotonicMs() < end; done += 1) {
          revision = (await store.transact([{ key, modRevision: revision }], [{ type: 'put', key, value }])).revision;
        }
      };
      await Promise.all(Array.from({ length: count }, work));
      perSecond[count] = done / seconds;
    }
    return { perSecond };
  } finally {
    await store.close();
  }
}

async function benchEtcd(folder: string, program: string, options: StoreOptions): Promise<StoreResult> {
  const address = '127.0.0.1';
  const taken = new Set<number>();
  const port = (): Promise<number> => freePort(address, Math.random, taken);
  const endpoint: EtcdEndpoint = { name: 'bench', address, clientPort: await port(), peerPort: await port() };
  const files = await writePki(join(folder, 'pki'), address);
  const dataDir = join(folder, 'etcd');
  mkdirSync(dataDir, { mode: 0o700 });
  const args = etcdArguments({ endpoint, members: [endpoint], pkiDir: join(folder, 'pki'), dataDir, clusterToken: 'bench' });
  const spec = { name: 'etcd', command: program, args, cwd: folder, logPath: join(folder, 'etcd.log'), graceMs: 5000, autoRestart: false };
  const member = new SupervisedProcess(spec, systemClock, () => undefined);
  await member.start();
  try {
    const open = (): Promise<Store> =>
      openEtcdStore({ endpoints: [`${address}:${endpoint.clientPort}`], files, clock: systemClock, logger: silentLogger });
    return await benchStore(await retry(open, { clock: systemClock, random: Math.random, attempts: 5, baseMs: 500 }), options);
  } finally {
    await member.stop();
  }
}

/** One CA, one certificate for all purposes. */
async function writePki(pkiDir: string, address: string): Promise<{ caFile: string; certFile: string; keyFile: string }> {
  const nowMs = Math.floor(systemClock.nowMs() / 1000) * 1000;
  const times = { notBefore: new Date(nowMs - 60_000), notAfter: new Date(nowMs + 3_600_000) };
  const signer = signerFor((await generateKeyPair('ecdsa-p384')).privateKey);
  const ca = await createRootCertificate({ commonName: 'bench', signer, serial: newSerial(), ...times });
  const { privateKey, publicKey } = await generateKeyPair('ecdsa-p384');
  const leaf = await issueLeaf(prepareIssuer(ca, signer), {
    spki: spkiDer(publicKey),
    keyAlgorithm: 'ecdsa-p384',
    profile: {
      commonName: 'bench',
      organizations: [],
      dnsNames: [],
      ipAddresses: [address],
      uris: [],
      usages: ['digital signature', 'server auth', 'client auth'],
    },
    serial: newSerial(),
    ...times,
  });
  mkdirSync(join(pkiDir, 'etcd'), { recursive: true, mode: 0o700 });
  const put = (path: string, content: string): void => writeFileSync(join(pkiDir, path), content, { mode: 0o600 });
  put('etcd/ca.crt', certificatesToPem([ca]));
  for (const name of ['server', 'peer']) {
    put(`etcd/${name}.crt`, certificatesToPem([leaf]));
    put(`etcd/${name}.key`, privateKeyToPem(privateKey));
  }
  return { caFile: join(pkiDir, 'etcd/ca.crt'), certFile: join(pkiDir, 'etcd/server.crt'), keyFile: join(pkiDir, 'etcd/server.key') };
}
