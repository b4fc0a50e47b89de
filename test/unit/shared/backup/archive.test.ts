import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { BackupArchive, type BackupItem, backupPayload, chunkBytes, peekAbout, sealPayload } from '@evercert/shared/backup';
import { EvercertError } from '@evercert/shared/errors';
import fc from 'fast-check';

const passphrase = 'seven random words of some length';
const logN = 10;
const about = {
  v: 1 as const,
  id: 'ab'.repeat(16),
  createdAt: '2026-05-01T00:00:00.000Z',
  clusters: ['demo'],
  storeRevision: 42,
  coordinatorVersion: '0.1.0',
  keyProviders: ['file'],
};
const pem = '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n';

describe('A backup', () => {
  it('holds what was put in, and its manifest counts it', async () => {
    const archive = await sealed(entriesOf(5, 100));
    const items = await read(archive);
    assert.deepEqual(
      items.map(({ type }) => type),
      ['about', 'entry', 'entry', 'entry', 'entry', 'entry', 'key', 'manifest'],
    );
    const last = items.at(-1);
    assert.equal(last?.type === 'manifest' && last.manifest.parts['nodes']?.entries, 5);
    assert.equal(last?.type === 'manifest' && last.manifest.whole.entries, 6);
    assert.deepEqual(last?.type === 'manifest' && last.manifest.keysElsewhere, ['demo/etcd-ca/1']);
  });

  it('tells what it is of without the passphrase', async () => {
    assert.deepEqual(await peekAbout(from(await sealed([]))), about);
  });

  it('is not opened by another passphrase', async () => {
    await refused(await sealed(entriesOf(1, 10)), 'another passphrase altogether', 'FailedPrecondition');
  });

  it('is refused when it is cut off, at every chunk and around it', async function () {
    this.timeout(20_000);
    const archive = await sealed(entriesOf(4, chunkBytes));
    const headerSize = 18 + 4 + archive.readUInt32BE(18) + 32;
    const chunks: number[] = [];
    for (let at = headerSize; at < archive.length; at += chunkBytes + 16) chunks.push(at);
    assert.ok(chunks.length >= 4);
    const cuts = chunks.flatMap((at) => [at - 1, at, at + 1, at + 16]).filter((at) => at < archive.length);
    for (const cut of [0, 5, 17, 20, 22, 60, ...cuts, archive.length - 16, archive.length - 1]) await refused(archive.subarray(0, cut));
  });

  it('is refused when anything is appended, or chunks change places', async () => {
    const archive = await sealed(entriesOf(4, chunkBytes));
    await refused(Buffer.concat([archive, Buffer.from([0])]));
    await refused(Buffer.concat([archive, archive]));
    const headerSize = 18 + 4 + archive.readUInt32BE(18) + 32;
    const chunk = (n: number) => archive.subarray(headerSize + n * (chunkBytes + 16), headerSize + (n + 1) * (chunkBytes + 16));
    await refused(Buffer.concat([archive.subarray(0, headerSize), chunk(1), chunk(0), chunk(2), chunk(3), chunk(4)]));
    await refused(Buffer.concat([archive.subarray(0, headerSize), chunk(0), chunk(2), chunk(3), chunk(4)]));
  });

  it('is refused when any byte of its header was changed', async function () {
    this.timeout(60_000);
    const archive = await sealed([]);
    const headerSize = 18 + 4 + archive.readUInt32BE(18) + 32;
    for (let at = 0; at < headerSize; at += 3) await refused(flipped(archive, at, 1 << (at % 8)));
  });

  it('is refused whatever is done to it', async function () {
    this.timeout(60_000);
    const archive = await sealed(entriesOf(3, 300));
    await fc.assert(
      fc.asyncProperty(fc.nat(archive.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(40), async (at, mask, cut) => {
        const changed = cut === 0 ? flipped(archive, at, mask) : Buffer.concat([archive.subarray(0, at), archive.subarray(at + cut)]);
        await refused(changed);
      }),
      { numRuns: 40 },
    );
  });

  it('is not made of a payload that was cut off or changed on its way', async () => {
    const payload = await gathered(backupPayload(sourceOf(entriesOf(3, 50))));
    for (const cut of [0, 3, 100, payload.length - 1])
      await assert.rejects(gathered(sealPayload(from(payload.subarray(0, cut)), { passphrase, logN })), { code: 'DataLoss' });
    await assert.rejects(gathered(sealPayload(from(flipped(payload, payload.indexOf('nodes/demo/n-1') + 40, 1)), { passphrase, logN })), {
      code: 'DataLoss',
    });
    const huge = Buffer.concat([payload.subarray(0, payload.indexOf(0x45, 200)), Buffer.from('45ffffffff', 'hex')]);
    await assert.rejects(gathered(sealPayload(from(huge), { passphrase, logN })), { code: 'DataLoss' });
  });

  it('asks for no more memory than a header may', async () => {
    const archive = await sealed([]);
    const text = archive.toString('latin1').replace('"logN":10', '"logN":30');
    await refused(Buffer.from(text, 'latin1'));
    const length = Buffer.from(archive);
    length.writeUInt32BE(0xffffffff, 18);
    await refused(length);
  });

  it('is not made with a passphrase that is too short', async () => {
    await assert.rejects(gathered(sealPayload(backupPayload(sourceOf([])), { passphrase: 'short', logN })), { code: 'InvalidArgument' });
  });
});

interface Entry {
  key: string;
  value: Buffer;
}

function entriesOf(count: number, size: number): Entry[] {
  return Array.from({ length: count }, (_, i) => ({ key: `/evercert/v1/nodes/demo/n-${i}`, value: randomBytes(size) }));
}

function sourceOf(entries: Entry[]) {
  async function* all(): AsyncGenerator<Entry> {
    yield* entries;
  }
  return { about, entries: all(), keyFiles: async () => ({ keys: [{ id: 'demo/cluster-ca/1', pem }], elsewhere: ['demo/etcd-ca/1'] }) };
}

function sealed(entries: Entry[]): Promise<Buffer> {
  return gathered(sealPayload(backupPayload(sourceOf(entries)), { passphrase, logN }));
}

async function read(archive: Buffer, by = passphrase): Promise<BackupItem[]> {
  const items: BackupItem[] = [];
  const opened = await BackupArchive.open(() => from(archive), by);
  await opened.verify((item) => items.push(item));
  return items;
}

async function refused(archive: Buffer, by = passphrase, code?: string): Promise<void> {
  await assert.rejects(read(archive, by), (error) => {
    assert.ok(error instanceof EvercertError, String(error));
    assert.ok(code === undefined ? ['DataLoss', 'FailedPrecondition'].includes(error.code) : error.code === code, error.code);
    return true;
  });
}

function flipped(bytes: Buffer, at: number, mask: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ mask;
  return changed;
}

/** In pieces of odd sizes. */
async function* from(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
}

async function gathered(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}
