import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AdminApi } from '@evercert/cli';
import { AuditEntry } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { certificatesToPem } from '@evercert/shared/x509';
import { type AuditKey, LogWriter, newAuditKey } from '../../support/audit-log.ts';
import { at, fakeApi, run } from './support.ts';

const entry = (sequence: number, fields: Parameters<typeof AuditEntry.fromPartial>[0] = {}): AuditEntry =>
  AuditEntry.fromPartial({
    sequence,
    hash: 'ab'.repeat(32),
    event: { id: `e${sequence}`, time: at(-sequence), actor: 'admin/ada', reason: 'AdminCall', type: 'Normal', message: 'DeleteNode: OK' },
    method: '/evercert.v1.AdminService/DeleteNode',
    details: { node: 'w-1', cluster: 'demo', outcome: 'OK' },
    ...fields,
  });

describe('evercert audit list', () => {
  it('shows the newest entries with the newest last, of all clusters unless one is named', async () => {
    const api = fakeApi({ listAuditEntries: () => ({ entries: [entry(3), entry(2)], nextPageToken: '' }) });
    const { out, exitCode } = await run(['audit', 'list'], { api });
    assert.equal(exitCode, 0);
    const [headers, ...rows] = out.trimEnd().split('\n');
    assert.match(headers ?? '', /^SEQUENCE +TIME +CLUSTER +ACTOR +REASON +OBJECT +MESSAGE$/);
    assert.deepEqual(
      rows.map((row) => row.split(/ {3,}/)[0]),
      ['2', '3'],
    );
    assert.match(rows[0] ?? '', /demo +admin\/ada +AdminCall +node\/w-1 +DeleteNode: OK$/);
    const asked = () => api.calls.findLast(({ method }) => method === 'listAuditEntries')!.request as { cluster: string };
    assert.equal(asked().cluster, '');
    await run(['audit', 'search', '-c', 'demo'], { api });
    assert.equal(asked().cluster, 'demo');
  });

  it('asks for what is searched, with times and durations before now, and goes on over empty pages', async () => {
    const pages = [
      { entries: [], nextPageToken: '40' },
      { entries: [entry(7)], nextPageToken: '' },
    ];
    const api = fakeApi({ listAuditEntries: () => pages.shift() ?? { entries: [], nextPageToken: '' } });
    const search = [
      '--serial',
      'AB:CD',
      '--node',
      'w-1',
      '--actor',
      'admin/ada',
      '--reason',
      'AdminCall',
      '--since',
      '1h',
      '--until',
      '2026-01-01T00:00:00Z',
    ];
    const { out } = await run(['audit', 'search', ...search, '-o', 'json'], { api });
    const { items } = JSON.parse(out);
    assert.deepEqual([items.length, items[0].spec.sequence, items[0].spec.method], [1, 7, '/evercert.v1.AdminService/DeleteNode']);
    const { since, until, ...request } = api.calls[0]!.request as { since: Date; until: Date };
    assert.deepEqual(since, at(-3600));
    assert.deepEqual(until, new Date('2026-01-01T00:00:00Z'));
    assert.deepEqual(request, {
      cluster: '',
      node: 'w-1',
      serial: 'abcd',
      actor: 'admin/ada',
      reason: 'AdminCall',
      pageSize: 100,
      pageToken: '',
    });
  });

  it('refuses a time that is none', async () => {
    const { exitCode, err } = await run(['audit', 'list', '--since', 'yesterday']);
    assert.equal(exitCode, 2);
    assert.match(err, /--since takes a time, as .* or a duration/);
  });
});

describe('evercert audit verify', () => {
  let folder: string;
  let key: AuditKey;
  let log: LogWriter;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-verify-'));
    key = await newAuditKey();
    log = await (await new LogWriter().header().entries(4).checkpoint(key)).entries(4).checkpoint(key);
    writeFileSync(join(folder, 'ca.pem'), certificatesToPem([key.ca.der]));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const verify = (lines: readonly string[], api: AdminApi | undefined, ...options: string[]) => {
    writeFileSync(join(folder, 'log.jsonl'), lines.join(''));
    return run(['audit', 'verify', 'log.jsonl', ...options], { cwd: folder, ...(api && { api }) });
  };
  /** A coordinator that has this log. */
  const having = (of: LogWriter): AdminApi => ({
    ...fakeApi({}),
    stream: async function* (_name: string, { fromSequence }: { fromSequence: number }) {
      const last = of.lines.filter((line) => line.includes('"type":"entry"')).length;
      if (fromSequence > last + 1)
        throw new EvercertError('FailedPrecondition', 'not here', { metadata: { oldest: '1', newest: String(last) } });
      yield { lines: Buffer.from(of.from(fromSequence)) };
    } as never,
  });

  it('needs nothing but the file and the CA, and tells what it has read', async () => {
    const { exitCode, out } = await verify(log.lines, undefined, '--ca', 'ca.pem');
    assert.equal(exitCode, 0, out);
    assert.equal(
      out,
      `log.jsonl: entries 1 to 8, 2 signatures\nThe audit log ${log.log} is as it was written: entries 1 to 8, signed up to 8.\n`,
    );
  });

  it('tells file, line and entry of what is wrong, and fails', async () => {
    const { exitCode, out } = await verify(log.lines.toSpliced(3, 1), undefined, '--ca', 'ca.pem');
    assert.equal(exitCode, 1);
    assert.match(out, /^log\.jsonl:4: missing at entry 3: entry 3 is missing$/m);
    assert.match(out, /is NOT as it was written: 1 fault\.\n$/);
    const json = JSON.parse((await verify(log.lines.toSpliced(3, 1), undefined, '--ca', 'ca.pem', '-o', 'json')).out);
    assert.deepEqual([json.good, json.faults[0].kind, json.faults[0].sequence, json.faults[0].line], [false, 'missing', 3, 4]);
  });

  it("finds an end that is missing by the coordinator's log, and lets a part be a part", async () => {
    const short = log.lines.slice(0, 6);
    writeFileSync(join(folder, 'contexts.yaml'), contexts(folder));
    const env = { EVERCERT_CONFIG: join(folder, 'contexts.yaml') };
    const ask = (...options: string[]) => run(['audit', 'verify', 'log.jsonl', ...options], { cwd: folder, env, api: having(log) });
    writeFileSync(join(folder, 'log.jsonl'), short.join(''));
    const { exitCode, out } = await ask();
    assert.equal(exitCode, 1, out);
    assert.match(out, /^log\.jsonl: cut-off at entry 5: the files end with entry 4, and the coordinator's log goes on/m);
    assert.equal((await ask('--partial')).exitCode, 0);
    const other = await new LogWriter().header().entries(3).entry({ serial: 'ff' }).checkpoint(key);
    const forked = await run(['audit', 'verify', 'log.jsonl'], { cwd: folder, env, api: having(other) });
    assert.equal(forked.exitCode, 1);
    assert.match(forked.out, /fork at entry 4/);
  });
});

function contexts(folder: string): string {
  return `currentContext: demo
contexts:
  - name: demo
    server: coordinator.test:7443
    certificateAuthority: ${folder}/ca.pem
    clientCertificate: ${folder}/none.crt
    clientKey: ${folder}/none.key
`;
}
