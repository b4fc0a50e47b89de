import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { configSchema } from '@evercert/coordinator';
import { parseDocuments, templateVariables } from '@evercert/shared/manifest';
import { parse } from 'yaml';
import { exitCodeTable, withGenerated } from '../../scripts/docs-tables.ts';
import { repositoryRoot } from '../support/tools.ts';

const read = (path: string): string => readFileSync(join(repositoryRoot, path), 'utf8');

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'deploy/systemd/README.md',
  ...['docs', 'docs/runbooks'].flatMap((folder) =>
    readdirSync(join(repositoryRoot, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  ),
];

/** GitHub's anchors: lower case, spaces to hyphens, punctuation away. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe('the documentation', () => {
  it('tells the error codes as the table in the code has them', () => {
    const page = read('docs/operations.md');
    assert.equal(withGenerated(page, { 'error codes': exitCodeTable() }), page, 'run `npm run generate:docs`');
  });

  it('shows documents that are valid', () => {
    for (const [page, count] of [
      ['docs/manifests.md', 7],
      ['docs/active-revocation.md', 1],
      ['docs/ca-rotation.md', 1],
      ['docs/import.md', 1],
      ['docs/revocation.md', 1],
    ] as const) {
      const examples = [...read(page).matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!);
      assert.ok(examples.length >= count);
      for (const example of examples) assert.deepEqual(parseDocuments(example, { file: page }).faults, [], example);
    }
  });

  it('shows a configuration of several coordinators that is valid', () => {
    const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(read('docs/ha.md')) ?? [];
    const { store, caKeys } = configSchema.parse(parse(example));
    assert.deepEqual([store.etcd?.endpoints.length, caKeys.provider], [3, 'store']);
  });

  it('names every variable of templates', () => {
    const page = read('docs/manifests.md');
    assert.deepEqual(
      templateVariables.filter((variable) => !page.includes(`\`${variable}\``)),
      [],
    );
  });

  it('says of every RPC who may call it', () => {
    const page = read('docs/api.md');
    for (const name of ['enrollment_service', 'recovery_service', 'node_service', 'admin_service']) {
      const proto = read(`proto/evercert/v1/${name}.proto`);
      const service = /^service (\w+)/m.exec(proto)?.[1];
      for (const [, rpc] of proto.matchAll(/^ {2}rpc (\w+)/gm)) assert.ok(page.includes(`\`${service}/${rpc}\``), `${service}/${rpc}`);
    }
  });

  for (const page of pages) {
    it(`links only to what exists in ${page}`, () => {
      const broken = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].filter(([, path, anchor]) => {
        const target = path === '' ? page : join(dirname(page), path!);
        if (!existsSync(join(repositoryRoot, target))) return true;
        return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
      });
      assert.deepEqual(
        broken.map((match) => match[0]),
        [],
      );
    });
  }
});
