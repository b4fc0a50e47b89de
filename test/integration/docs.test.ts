import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { repositoryRoot, run, runOk } from '../support/tools.ts';

const read = (path: string): string => readFileSync(join(repositoryRoot, path), 'utf8');
const path = `${join(repositoryRoot, 'node_modules', '.bin')}:${process.env['PATH']}`;

/** `caKeys.passphraseFile` and the like, of every setting. */
function keysOf(value: unknown, prefix = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [prefix];
  return Object.entries(value).flatMap(([key, inner]) => keysOf(inner, prefix === '' ? key : `${prefix}.${key}`));
}

/** First column of the tables under a heading. */
function documented(heading: string): string[] {
  const section =
    read('docs/operations.md')
      .split(/^## /m)
      .find((text) => text.startsWith(heading)) ?? '';
  return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

describe('the documentation of the programs', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-docs-'));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('describes every setting of the coordinator', async () => {
    const file = join(folder, 'coordinator.yaml');
    writeFileSync(file, 'dataDir: /var/lib/evercert\n');
    const { stdout } = await runOk('evercert-coordinator', ['--config', file, '--print-config'], { env: { PATH: path } });
    const known = documented('Coordinator configuration');
    assert.deepEqual(
      keysOf(parse(stdout)).filter((key) => !known.includes(key)),
      [],
    );
  });

  it('names only settings that the coordinator takes', async () => {
    const file = join(folder, 'coordinator.yaml');
    // A value of a wrong type is refused for its type, a key that does not exist for being unknown.
    const config: Record<string, unknown> = {};
    for (const key of documented('Coordinator configuration')) {
      let place = config;
      for (const part of key.split('.').slice(0, -1)) {
        place[part] ??= {};
        place = place[part] as Record<string, unknown>;
      }
      place[key.split('.').at(-1) ?? ''] = { wrong: 'type' };
    }
    writeFileSync(file, JSON.stringify({ ...config, notDocumented: true }));
    const { stderr } = await run('evercert-coordinator', ['--config', file, '--print-config'], { env: { PATH: path } });
    assert.deepEqual(
      [...stderr.matchAll(/unknown key "?([A-Za-z.]+)/g)].map((match) => match[1]).filter((key) => key !== 'wrong'),
      ['notDocumented'],
      stderr,
    );
  });

  it('has example configurations that the programs take', async () => {
    const examples = join(repositoryRoot, 'deploy', 'systemd', 'examples');
    await runOk('evercert-coordinator', ['--config', join(examples, 'coordinator.yaml'), '--print-config'], { env: { PATH: path } });
    await runOk('evercert-agent', ['--config', join(examples, 'agent.yaml'), '--print-config'], { env: { PATH: path } });
  });

  it('has a quick start whose commands work as they stand', async () => {
    const blocks = [...read('docs/quick-start.md').matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1]!);
    const [port, webPort] = [await freePort(), await freePort()];
    const demo = join(folder, 'demo');
    const script = blocks
      .join('\n')
      .replaceAll('7443', String(port))
      .replaceAll('7480', String(webPort))
      .replaceAll('/tmp/evercert-demo', demo);
    const stopAll = `trap 'status=$?; kill $(jobs -p) 2>/dev/null || true; [ $status = 0 ] || tail -n 30 ${demo}/*.log >&2; exit $status' EXIT\n`;
    const env = { PATH: path, EVERCERT_CONFIG: undefined, HOME: folder };
    const result = await run('bash', ['-euo', 'pipefail', '-c', stopAll + script], { cwd: repositoryRoot, timeoutMs: 110_000, env });
    assert.equal(result.status, 0, `${result.stdout}\n${result.stderr}`);
    assert.match(result.stdout, /apiserver\.crt: OK/);
    assert.match(result.stdout, /FileRestored/);
  });
});
