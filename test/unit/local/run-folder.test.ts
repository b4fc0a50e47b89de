import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { newRunFolder, prepareRunFolder, timestampName } from '@evercert/local';
import type { EvercertError } from '@evercert/shared/errors';

const nowMs = Date.parse('2026-03-01T12:00:00Z');

describe('the run folder of a local cluster', () => {
  let parent: string;

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'evercert-folder-'));
  });

  afterEach(() => rmSync(parent, { recursive: true, force: true }));

  it('is made, for its owner alone', () => {
    const { path } = prepareRunFolder(join(parent, 'a', 'b'), nowMs);
    assert.equal(statSync(path).mode & 0o777, 0o700);
  });

  it('is refused when it holds what no run has made', () => {
    writeFileSync(join(parent, 'letter.txt'), 'dear');
    assert.throws(() => prepareRunFolder(parent, nowMs), { code: 'FileConflict' } satisfies Partial<EvercertError>);
    assert.deepEqual(readdirSync(parent), ['letter.txt']);
  });

  it('of an earlier run is used afresh, and what is not of that run stays', () => {
    const first = prepareRunFolder(parent, nowMs);
    writeFileSync(join(first.logs, 'cp-1.log'), 'old');
    writeFileSync(join(parent, 'notes.txt'), 'mine');
    first.release();
    const second = prepareRunFolder(parent, nowMs);
    assert.deepEqual(readdirSync(second.logs), []);
    assert.ok(existsSync(join(parent, 'notes.txt')));
  });

  it('is refused while another process runs in it', () => {
    writeFileSync(join(parent, 'evercert-local.json'), JSON.stringify({ pid: process.ppid }));
    assert.throws(() => prepareRunFolder(parent, nowMs), /in use by a local cluster that still runs/);
  });

  it('keeps sockets inside, or in a temporary folder when their paths would be too long', () => {
    const short = prepareRunFolder(join(parent, 'short'), nowMs);
    assert.equal(short.sockets, join(short.path, 'run'));
    const deep = join(parent, 'x'.repeat(60), 'y'.repeat(60));
    mkdirSync(deep, { recursive: true });
    const long = prepareRunFolder(deep, nowMs);
    assert.ok(Buffer.byteLength(join(long.sockets, 'worker-100.sock')) <= 107);
    long.release();
    assert.equal(existsSync(long.sockets), false);
  });

  it('is a temporary one that is removed, when none is given', () => {
    const folder = prepareRunFolder(undefined, nowMs);
    assert.ok(existsSync(folder.path));
    folder.release();
    assert.equal(existsSync(folder.path), false);
  });

  it('has a name that sorts by time, and one of its own for each of several runs in a second', () => {
    assert.equal(timestampName(nowMs), '2026-03-01T12-00-00Z');
    const paths = [1, 2, 3].map(() => newRunFolder(join(parent, 'runs'), nowMs));
    assert.deepEqual(
      paths.map((path) => basename(path)),
      ['2026-03-01T12-00-00Z', '2026-03-01T12-00-00Z-2', '2026-03-01T12-00-00Z-3'],
    );
  });

  it('cannot be a file, and the error says so', () => {
    writeFileSync(join(parent, 'file'), '');
    assert.throws(() => prepareRunFolder(join(parent, 'file'), nowMs), /cannot make the folder .*file/);
  });
});
