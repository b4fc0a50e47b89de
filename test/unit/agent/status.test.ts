import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@evercert/agent/cli';
import { type AgentStatus, allReady, fetchStatus, startStatusServer, statusTable } from '@evercert/agent/status';
import { FakeClock } from '@evercert/shared/clock';

const noRecovery = (): Promise<void> => assert.fail('nobody asked for that');
const nowMs = Date.parse('2026-01-02T00:00:00Z');

function status(change: Partial<AgentStatus> = {}): AgentStatus {
  return {
    agent: { version: '0', pid: 1, startedAt: '2026-01-01T00:00:00.000Z' },
    identity: {
      state: 'Ready',
      message: '',
      code: '',
      nodeName: 'node-1',
      cluster: 'demo',
      role: 'worker',
      serial: '0a',
      notAfter: '2026-01-05T00:00:00.000Z',
    },
    connection: {
      state: 'Connected',
      endpoint: '127.0.0.1:7443',
      since: '2026-01-01T00:00:00.000Z',
      lastError: '',
      lastErrorCode: '',
      endpoints: ['127.0.0.1:7443'],
    },
    desiredRevision: '1',
    certificates: [
      {
        name: 'kubelet-client',
        state: 'Ready',
        serial: '0123456789abcdef0123456789abcdef',
        notAfter: '2026-01-04T00:00:00.000Z',
        nextRenewalAt: '2026-01-02T12:30:00.000Z',
        issuedTotal: 1,
        failures: 0,
        lapses: 0,
        served: 'Served',
        specHash: '',
        lastError: '',
        lastErrorCode: '',
      },
    ],
    bundles: [{ name: 'cluster-ca', issuer: 'cluster-ca', version: 1, state: 'Ready', lastError: '', served: 'Served', servedMessage: '' }],
    keyPairs: [],
    revocationLists: [],
    components: [],
    controlTrust: { pins: [`sha256:${'ab'.repeat(32)}`], lastError: '' },
    events: { waiting: 0, dropped: 0 },
    ...change,
  };
}

describe('the status of the agent', () => {
  let folder: string;
  let socket: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-status-'));
    socket = join(folder, 'run', 's.sock');
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function cli(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
    let out = '';
    let err = '';
    const code = await runCli(argv, {
      write: (text) => (out += text),
      writeError: (text) => (err += text),
      clock: new FakeClock(nowMs),
      run: () => assert.fail('the agent was started'),
    });
    return { code, out, err };
  }

  it('is served on a socket for the own user alone, and nothing else is', async () => {
    const server = await startStatusServer(socket, () => status(), noRecovery);
    try {
      assert.deepEqual(await fetchStatus(socket), status());
      assert.equal((await stat(socket)).mode & 0o777, 0o600);
      assert.equal((await stat(join(folder, 'run'))).mode & 0o777, 0o700);
      await assert.rejects(
        startStatusServer(socket, () => status(), noRecovery),
        { code: 'AlreadyExists' },
      );
    } finally {
      await server.close();
    }
    await assert.rejects(fetchStatus(socket), { code: 'Unavailable' });
  });

  it('replaces a socket that a dead agent left', async () => {
    await writeFile(join(folder, 'dead.sock'), '');
    const server = await startStatusServer(join(folder, 'dead.sock'), () => status(), noRecovery);
    await server.close();
  });

  it('refuses a socket path that the kernel would cut off', async () => {
    await assert.rejects(
      startStatusServer(join(folder, 'x'.repeat(120)), () => status(), noRecovery),
      { code: 'InvalidConfig' },
    );
  });

  it('is a table for people', () => {
    assert.equal(
      statusTable(status(), nowMs),
      [
        'Node        node-1 in cluster demo (worker)',
        'Identity    Ready, expires in 72h',
        `Control CA  sha256:${'ab'.repeat(32)}`,
        'Connection  Connected 127.0.0.1:7443',
        '',
        'NAME            STATE  SERIAL        EXPIRES  RENEWS     SERVED  ERROR',
        'kubelet-client  Ready  0123456789ab  in 48h   in 12h30m  Served',
        '',
        'BUNDLE      STATE  VERSION  SERVED  ERROR',
        'cluster-ca  Ready  1        Served',
        '',
      ].join('\n'),
    );
  });

  it('is ready only if identity, certificates, bundles and key pairs are', () => {
    assert.equal(allReady(status()), true);
    assert.equal(allReady(status({ certificates: [{ ...status().certificates[0]!, state: 'RenewalFailing' }] })), false);
    const outOfPlace = { ...status().certificates[0]!, lastError: 'a folder is in the place of the file', lastErrorCode: 'FileConflict' };
    assert.equal(allReady(status({ certificates: [outOfPlace] })), false);
    assert.equal(allReady(status({ identity: { ...status().identity, state: 'IdentityExpired' } })), false);
    assert.equal(allReady(status({ bundles: [{ ...status().bundles[0]!, state: 'Failed' }] })), false);
  });

  it('gives the command its exit code: 0 ready, 1 not, 7 no agent', async () => {
    let present = status();
    const server = await startStatusServer(socket, () => present, noRecovery);
    try {
      const ready = await cli('status', '--socket', socket);
      assert.equal(ready.code, 0);
      assert.match(ready.out, /kubelet-client +Ready/);
      present = status({ identity: { ...status().identity, state: 'JoinRefused', message: 'put a token there' } });
      const refused = await cli('status', '--socket', socket, '-o', 'json');
      assert.equal(refused.code, 1);
      assert.deepEqual(JSON.parse(refused.out), present);
    } finally {
      await server.close();
    }
    const gone = await cli('status', '--socket', socket);
    assert.equal(gone.code, 7);
    assert.match(gone.err, /no agent answers/);
  });

  describe('and its configuration', () => {
    const pins = `sha256:${'0'.repeat(64)}`;
    const write = async (text: string): Promise<string> => {
      const path = join(folder, 'config.yaml');
      await writeFile(path, text);
      return path;
    };

    it('is printed with every default and without the token, so that it can be read again', async () => {
      const path = await write(`coordinator: { endpoints: ["coordinator"], caPins: ["${pins}"] }\ntoken: abcdef.0123456789abcdef\n`);
      const { code, out } = await cli('--config', path, '--print-config');
      assert.equal(code, 0);
      assert.match(out, /coordinator:7443/);
      assert.match(out, /scanInterval: 30s/);
      assert.ok(!out.includes('abcdef'));
      assert.equal((await cli('run', '--config', await write(out), '--print-config')).out, out);
    });

    const faults: [string, string, RegExp][] = [
      ['an unknown key', `coordinator: { endpoints: [a], caPins: ["${pins}"] }\nstatedir: /x\n`, /config\.yaml:2.*statedir.*stateDir/s],
      ['a pin of another form', 'coordinator: { endpoints: [a], caPins: ["md5:00"] }\n', /config\.yaml:1.*caPins.*sha256:/s],
      ['no coordinator', 'node: { name: a }\n', /coordinator/],
      ['a relative path', `coordinator: { endpoints: [a], caPins: ["${pins}"] }\nstateDir: x\n`, /config\.yaml:2.*absolute path/s],
      ['a bad duration', `coordinator: { endpoints: [a], caPins: ["${pins}"] }\nscanInterval: soon\n`, /config\.yaml:2.*duration/s],
      ['a bad node name', `coordinator: { endpoints: [a], caPins: ["${pins}"] }\nnode: { name: "A b" }\n`, /config\.yaml:2.*node name/s],
      [
        'an address that is none',
        `coordinator: { endpoints: [a], caPins: ["${pins}"] }\nnode: { name: a, addresses: [b] }\n`,
        /config\.yaml:2.*addresses/s,
      ],
    ];
    for (const [what, text, expected] of faults) {
      it(`is refused for ${what}, with the place`, async () => {
        const { code, err } = await cli('--config', await write(text));
        assert.equal(code, 2);
        assert.match(err, expected);
      });
    }

    it('has a version, a help text, and exit code 2 for what it does not know', async () => {
      assert.match((await cli('--version')).out, /^\d+\.\d+\.\d+\n$/);
      assert.equal((await cli('--help')).code, 0);
      assert.equal((await cli('--nonsense')).code, 2);
      assert.equal((await cli('--config', join(folder, 'absent.yaml'))).code, 2);
    });
  });
});
