import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Replacement, Token } from '@evercert/proto';
import { needTool, run as runTool } from '../../support/tools.ts';
import { certificate, fakeApi, node, run } from './support.ts';

const script = async (shell: string): Promise<string> => (await run(['completion', shell])).out;

describe('evercert completion', () => {
  it('is valid bash, and completes commands, types, options and their values', async function () {
    const bash = needTool(this, 'bash');
    const text = await script('bash');
    assert.equal((await runTool(bash, ['-n'], { input: text })).status, 0);
    const complete = async (...words: string[]): Promise<string[]> => {
      const test = `${text}\ncompopt() { :; }\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}\n_evercert\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
      return (await runTool(bash, ['--norc', '-c', test])).stdout.split('\n').filter((line) => line !== '');
    };
    assert.deepEqual(await complete('evercert', 'de'), ['describe', 'delete']);
    assert.deepEqual(await complete('evercert', 'get', 'no'), ['nodes']);
    assert.deepEqual(await complete('evercert', '--context', 'x', 'token', ''), ['create', 'list', 'delete']);
    assert.deepEqual(await complete('evercert', 'token', 'create', '--role', ''), ['control-plane', 'worker']);
    assert.deepEqual(await complete('evercert', 'get', 'nodes', '-o', 'j'), ['json']);
    assert.deepEqual(await complete('evercert', 'certs', 'check', '--warn'), ['--warn-within']);
    assert.ok((await complete('evercert', 'get', 'nodes', '--')).includes('--cluster'));
  });

  it('completes names in bash by asking the program itself', async function () {
    const bash = needTool(this, 'bash');
    const text = await script('bash');
    const complete = async (...words: string[]): Promise<string> => {
      const fake = `evercert() { printf '<%s>' "$@"; }`;
      const test = `${fake}\n${text}\ncompopt() { :; }\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}\n_evercert\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
      return (await runTool(bash, ['--norc', '-c', test])).stdout.trim();
    };
    assert.equal(await complete('evercert', 'get', 'nodes', 'w-'), '<__complete><--><get><nodes><w->');
    assert.equal(await complete('evercert', 'get', 'node/'), '<__complete><--><get><node/>');
    assert.equal(await complete('evercert', '-c', 'x', 'cordon', ''), '<__complete><--><-c><x><cordon><>');
    assert.equal(await complete('evercert', 'get', 'nodes', '--cluster', 'd'), '<__complete><--><get><nodes><--cluster><d>');
    assert.equal(await complete('evercert', 'get', 'no'), 'nodes');
  });

  it('completes names in fish and zsh the same way', async function () {
    const folder = mkdtempSync(join(tmpdir(), 'evercert-completion-'));
    try {
      const fish = needTool(this, 'fish');
      const asked = `function evercert; echo "$argv"; end\nsource ${join(folder, 'fish')}\ncomplete -C 'evercert get nodes w-'\ncomplete -C 'evercert cordon '\n`;
      writeFileSync(join(folder, 'fish'), await script('fish'));
      // Only what begins with the word at the cursor is offered.
      writeFileSync(join(folder, 'test'), asked.replace('echo "$argv"', 'echo "w-<$argv>"'));
      assert.equal((await runTool(fish, [join(folder, 'test')])).stdout, 'w-<__complete -- get nodes w->\nw-<__complete -- cordon >\n');
      const zsh = needTool(this, 'zsh');
      const fakes = 'compdef() { :; }; compadd() { print -r -- $found; }; evercert() { print -r -- "<$*>"; }';
      const test = `${fakes}\n${await script('zsh')}\nwords=(evercert get nodes w-); CURRENT=4; _evercert\nwords=(evercert cordon ''); CURRENT=3; _evercert\n`;
      assert.equal((await runTool(zsh, ['-f', '-c', test])).stdout, '<__complete -- get nodes w->\n<__complete -- cordon >\n');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  describe('of names', () => {
    const nodes = [node('w-1'), node('w-2'), node('w-3', { cluster: 'other' }), node('cp-1'), node('w-$(reboot)')];
    const api = () =>
      fakeApi({
        listNodes: ({ cluster }) => ({ nodes: nodes.filter((one) => cluster === '' || one.cluster === cluster) }),
        listClusters: () => ({ clusters: [Cluster.fromPartial({ name: 'demo' }), Cluster.fromPartial({ name: 'other' })] }),
        listReplacements: () => ({ replacements: [Replacement.fromPartial({ id: 'rp-a', cluster: 'demo' })], pauses: [] }),
        listTokens: () => ({ tokens: [Token.fromPartial({ id: 'abcdef', cluster: 'demo' })] }),
        listCertificates: () => ({ certificates: [certificate('w-1', 'kubelet')], nextPageToken: '' }),
      });
    const names = async (...words: string[]): Promise<string[]> =>
      (await run(['__complete', '--', ...words], { api: api() })).out.split('\n').filter((text) => text !== '');

    it('asks the coordinator, in the cluster of the line or of the context', async () => {
      assert.deepEqual(await names('get', 'nodes', 'w'), ['w-1', 'w-2']);
      assert.deepEqual(await names('-c', 'other', 'describe', 'no', ''), ['w-3']);
      assert.deepEqual(await names('--cluster=other', 'describe', 'node/'), ['node/w-3']);
      assert.deepEqual(await names('get', 'nodes', '-o', 'wide', 'w-1', 'w-'), ['w-2'], 'w-1 stands there already');
      assert.deepEqual(await names('get', 'certificate', ''), ['w-1/kubelet']);
      assert.deepEqual(await names('get', 'certs/w-1/'), ['certs/w-1/kubelet']);
      assert.deepEqual(await names('cordon', 'w-1', ''), ['cp-1', 'w-2']);
      assert.deepEqual(await names('logs', 'n'), ['node/cp-1', 'node/w-1', 'node/w-2']);
      assert.deepEqual(await names('repair', ''), ['demo', 'other']);
      assert.deepEqual(await names('repair', 'demo', ''), []);
      assert.deepEqual(await names('replacement', 'cancel', 'rp'), ['rp-a']);
      assert.deepEqual(await names('token', 'delete', ''), ['abcdef']);
      assert.deepEqual(await names('get', 'certificates', '--node', 'cp'), ['cp-1']);
    });

    it('knows contexts from their file', async () => {
      assert.deepEqual(await names('config', 'use-context', ''), ['all', 'demo']);
      assert.deepEqual(await names('get', 'nodes', '--context', 'd'), ['demo']);
    });

    it('is silent where there is nothing to say, or nobody to ask', async () => {
      for (const words of [['get', ''], ['get', 'nonsense', ''], ['nonsense', ''], ['certs', 'check', ''], []])
        assert.deepEqual(await run(['__complete', '--', ...words], { api: api() }), { exitCode: 0, out: '', err: '' }, words.join(' '));
      assert.deepEqual(await run(['__complete', '--', 'get', 'nodes', '']), { exitCode: 0, out: '', err: '' });
    });

    it('is not seen among the commands', async () => {
      assert.doesNotMatch((await run(['--help'])).out, /__complete/);
    });
  });

  for (const [shell, flag] of [
    ['zsh', '-n'],
    ['fish', '--no-execute'],
  ] as const) {
    it(`is valid ${shell}`, async function () {
      const tool = needTool(this, shell);
      // fish reads no script from a socket, which a pipe of Node's is.
      const folder = mkdtempSync(join(tmpdir(), 'evercert-completion-'));
      try {
        writeFileSync(join(folder, 'script'), await script(shell));
        const { status, stderr } = await runTool(tool, [flag, join(folder, 'script')]);
        assert.deepEqual([status, stderr], [0, '']);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }

  it('quotes descriptions, so that no text of ours ends a string', async () => {
    for (const shell of ['zsh', 'fish']) assert.match(await script(shell), /agent'\\''s configuration/);
  });

  it('knows no other shell', async () => {
    const { exitCode, err } = await run(['completion', 'tcsh']);
    assert.equal(exitCode, 2);
    assert.match(err, /Allowed choices are bash, zsh, fish/);
  });
});
