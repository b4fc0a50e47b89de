import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needTool, run as runTool } from '../../support/tools.ts';
import { run } from './support.ts';

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
