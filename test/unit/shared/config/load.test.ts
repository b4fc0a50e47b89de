import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  durationMs,
  durationSeconds,
  fileMode,
  hostPort,
  ipRange,
  loadYaml,
  readConfigFile,
  toCommentedYaml,
} from '@evercert/shared/config';
import { EvercertError, formatFault } from '@evercert/shared/errors';
import fc from 'fast-check';
import { z } from 'zod';

const schema = z.strictObject({
  listen: hostPort({ defaultPort: 7443, anyPort: true }).default('0.0.0.0:7443').describe('Where agents and admins connect'),
  timeout: durationMs({ min: '1s', max: '1h' }).default(30_000),
  lifetime: durationSeconds().default(345_600),
  mode: fileMode().default(0o600),
  ranges: z.array(ipRange()).default([]),
  log: z
    .strictObject({ level: z.enum(['debug', 'info', 'warn']).default('info'), fields: z.record(z.string(), z.string()).default({}) })
    .prefault({}),
  peers: z
    .array(z.strictObject({ name: z.string().min(1).max(8), port: z.number().int().min(1).max(65_535) }))
    .max(2)
    .optional(),
  storage: z
    .union([z.strictObject({ sqlite: z.strictObject({ path: z.string() }) }), z.strictObject({ etcd: z.array(z.string()) })])
    .optional(),
});

function faultsOf(text: string): string[] {
  try {
    loadYaml(schema, text, 'f.yaml');
  } catch (error) {
    assert.ok(error instanceof EvercertError);
    assert.equal(error.code, 'InvalidConfig');
    return error.faults.map(formatFault);
  }
  return [];
}

describe('loadYaml', () => {
  it('fills in every default from an empty text', () => {
    for (const text of ['', '# nothing\n', '---\n', 'null', '{}']) {
      assert.deepEqual(loadYaml(schema, text, 'f.yaml'), {
        listen: '0.0.0.0:7443',
        timeout: 30_000,
        lifetime: 345_600,
        mode: 0o600,
        ranges: [],
        log: { level: 'info', fields: {} },
      });
    }
  });

  it('returns a value that nobody can change', () => {
    const config = loadYaml(schema, 'log: { level: debug }', 'f.yaml');
    assert.throws(() => Object.assign(config.log, { level: 'info' }), TypeError);
    assert.throws(() => config.ranges.push('10.0.0.0/8'), TypeError);
  });

  it('reads modes as octal however they are written', () => {
    for (const mode of ['"0640"', '0640', '"640"', '0o640']) assert.equal(loadYaml(schema, `mode: ${mode}`, 'f.yaml').mode, 0o640, mode);
  });

  it('reads anchors and aliases, and JSON with tabs', () => {
    assert.deepEqual(loadYaml(schema, 'peers: [&a { name: x, port: 1 }, *a]', 'f').peers, [
      { name: 'x', port: 1 },
      { name: 'x', port: 1 },
    ]);
    assert.equal(loadYaml(schema, '{\n\t"timeout":\t"5s"\n}', 'f').timeout, 5000);
  });

  const bad: [what: string, text: string, expected: (string | RegExp)[]][] = [
    ['an unknown key', 'lisen: a:1\n', ['f.yaml:1:1: lisen: unknown key "lisen"; did you mean "listen"?']],
    [
      'an unknown key deep inside',
      'log:\n  level: info\n  feilds: {}\n',
      ['f.yaml:3:3: log.feilds: unknown key "feilds"; did you mean "fields"?'],
    ],
    [
      'an unknown key near no other',
      'log:\n  zzzzzz: 1\n',
      [/^f\.yaml:2:3: log\.zzzzzz: unknown key "zzzzzz"; known keys: level, fields$/],
    ],
    ['a number for a duration', 'timeout: 30\n', [/^f\.yaml:1:10: timeout: expected a duration with units, .*found the number 30$/]],
    ['a duration too short', 'timeout: 1ms\n', ['f.yaml:1:10: timeout: expected at least 1s, found "1ms"']],
    ['a duration too long', 'timeout: 2h\n', ['f.yaml:1:10: timeout: expected at most 1h, found "2h"']],
    ['parts of seconds', 'lifetime: 1500ms\n', ['f.yaml:1:11: lifetime: expected whole seconds, found "1500ms"']],
    ['a mode that could be decimal', 'mode: 600\n', [/^f\.yaml:1:7: mode: .*write "0600"$/]],
    ['a mode that is not octal', 'mode: "0980"\n', [/^f\.yaml:1:7: mode: expected permission bits/]],
    ['a mode beyond the permission bits', 'mode: "4755"\n', [/^f\.yaml:1:7: mode: expected permission bits/]],
    ['a mode of another type', 'mode: [6]\n', [/^f\.yaml:1:7: mode: expected permission bits .*found a list$/]],
    [
      'a word outside an enumeration',
      'log: { level: inof }\n',
      ['f.yaml:1:15: log.level: expected one of "debug", "info", "warn", found "inof"; did you mean "info"?'],
    ],
    ['a missing field', 'peers:\n  - name: a\n', ['f.yaml:2:5: peers[0].port: missing; expected a number']],
    [
      'text out of bounds',
      'peers: [{ name: "", port: 1 }, { name: ninechars, port: 1 }]',
      [/at least 1 characters, found 0/, /at most 8 characters, found 9/],
    ],
    [
      'a number out of bounds',
      'peers: [{ name: a, port: 70000 }]',
      [/^f\.yaml:1:26: peers\[0\]\.port: expected at most 65535, found the number 70000$/],
    ],
    ['a fraction', 'peers: [{ name: a, port: 1.5 }]', [/expected a whole number, found the number 1\.5/]],
    [
      'too many items',
      'peers: [{ name: a, port: 1 }, { name: a, port: 1 }, { name: a, port: 1 }]',
      [/^f\.yaml:1:8: peers: expected at most 2 items, found 3$/],
    ],
    ['a list for a mapping', 'log: []\n', ['f.yaml:1:6: log: expected a mapping, found a list']],
    ['nothing for a mapping', 'log:\n', ['f.yaml:1:5: log: expected a mapping, found nothing']],
    ['text for the whole', 'hello\n', ['f.yaml:1:1: expected a mapping, found "hello"']],
    ['a range with host bits', 'ranges:\n  - 10.0.0.1/8\n', [/^f\.yaml:2:5: ranges\[0\]: .*write "10\.0\.0\.0\/8"/]],
    ['a port beyond all', 'listen: a:99999\n', [/^f\.yaml:1:9: listen: expected HOST\[:PORT\]/]],
    [
      'the form of a union that fits best',
      'storage: { sqlite: { path: 3 } }',
      ['f.yaml:1:28: storage.sqlite.path: expected text, found the number 3'],
    ],
    [
      'a duplicate key',
      'timeout: 1s\nlog: {}\ntimeout: 2s\n',
      ['f.yaml:3:1: timeout: the key is given twice (first on line 1); keep one of them'],
    ],
    ['a duplicate key beside another fault', 'mode: 600\nmode: 700\n', [/given twice/, /^f\.yaml:1:7: mode/]],
    ['a second document', 'timeout: 1s\n---\ntimeout: 2s\n', ['f.yaml:3:1: expected one document, found another one here']],
    ['a broken quote', 'listen: "a\n', [/^f\.yaml:\d+:\d+: not valid YAML: /]],
    ['a tag', 'listen: !endpoint a\n', [/^f\.yaml:1:9: tags are not supported here/]],
    ['a tag of YAML itself', 'listen: !!str a:1\n', [/^f\.yaml:1:15: listen: tags are not supported here/]],
    ['an unknown alias', 'log: *nobody\n', [/^f\.yaml:1:6: /]],
    ['an old YAML version', '%YAML 1.1\n---\nmode: 0600\n', [/^f\.yaml:1:1: the document asks for YAML 1\.1/]],
    ['a key that is a list', '? [a]\n: 1\n', [/^f\.yaml:1:3: a key must be a plain word/]],
    ['a merge key', 'log: { <<: { level: info } }', [/unknown key "<<"/]],
    ['a prototype', '__proto__: { x: 1 }', [/unknown key "__proto__"/]],
  ];
  for (const [what, text, expected] of bad) {
    it(`refuses ${what}`, () => {
      const faults = faultsOf(text);
      assert.equal(faults.length, expected.length, faults.join('\n'));
      for (const [i, line] of expected.entries()) {
        if (typeof line === 'string') assert.equal(faults[i], line);
        else assert.match(faults[i]!, line);
      }
    });
  }

  it('reports every fault of a file, in its order', () => {
    const faults = faultsOf('timeout: 1\nmode: 1\nlisten: ":"\nlog: { level: x }\nbad: 1\n');
    assert.deepEqual(
      faults.map((fault) => fault.split(':')[1]),
      ['1', '2', '3', '4', '5'],
    );
  });

  const bombs: Record<string, () => string> = {
    'aliases of aliases': () =>
      `a: &a [1,1,1,1,1,1,1,1,1]\n${'bcdefghi'
        .split('')
        .map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefgh'[i]}`).join(',')}]`)
        .join('\n')}\n`,
    'an alias inside itself': () => 'log: &a { level: *a }',
    'brackets without end': () => '['.repeat(5_000),
    'dashes without end': () => '- '.repeat(5_000),
    'too long a text': () => `# ${'x'.repeat(1024 * 1024)}`,
    'too many documents': () => '---\na: 1\n'.repeat(600),
    'too many values': () => `ranges: [${'a,'.repeat(60_000)}]`,
  };
  for (const [what, text] of Object.entries(bombs)) {
    it(`bounds ${what}`, () => {
      const faults = faultsOf(text());
      assert.ok(faults.length > 0 && faults.length <= 100);
      assert.ok(faults.every((fault) => fault.length < 300));
    });
  }

  it('never throws anything but InvalidConfig, whatever the text', () => {
    const yamlish = fc.array(
      fc.constantFrom(
        'timeout',
        'log',
        'mode',
        ': ',
        '- ',
        '\n',
        '  ',
        '[',
        ']',
        '{',
        '}',
        '"',
        "'",
        '&a ',
        '*a',
        '!t ',
        '|',
        '> ',
        '? ',
        '#',
        '---\n',
        '%',
        ',',
        '0600',
        '\t',
        'null',
        '\u0000',
        '<<',
      ),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          yamlish.map((parts) => parts.join('')),
        ),
        (text) => void faultsOf(text),
      ),
      { numRuns: 150 },
    );
  });
});

describe('readConfigFile', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-config-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function messageOf(path: string): string {
    try {
      readConfigFile(schema, path);
    } catch (error) {
      assert.ok(error instanceof EvercertError && error.code === 'InvalidConfig');
      return error.message;
    }
    return '';
  }

  it('reads a file', () => {
    const path = join(folder, 'good.yaml');
    writeFileSync(path, 'timeout: 5s\n');
    assert.equal(readConfigFile(schema, path).timeout, 5000);
  });

  it('says what is wrong with a file that it cannot read', () => {
    assert.match(messageOf(join(folder, 'none.yaml')), /there is no such file/);
    assert.match(messageOf(folder), /no regular file/);
    writeFileSync(join(folder, 'latin1.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xe4]));
    assert.match(messageOf(join(folder, 'latin1.yaml')), /not UTF-8/);
    writeFileSync(join(folder, 'large.yaml'), Buffer.alloc(5 * 1024 * 1024, 0x20));
    assert.match(messageOf(join(folder, 'large.yaml')), /too large/);
  });

  it('says so when it may not read a file', function () {
    if (process.getuid?.() === 0) this.skip(); // root may read everything
    const path = join(folder, 'secret.yaml');
    writeFileSync(path, '');
    chmodSync(path, 0);
    assert.match(messageOf(path), /permission denied/);
  });
});

describe('toCommentedYaml', () => {
  it('prints a configuration that can be read again, with what its fields are for', () => {
    const config = loadYaml(schema, 'mode: 0640\ntimeout: 90s\nlisten: "::1"\nlog: { fields: { site: "010" } }', 'f.yaml');
    const text = toCommentedYaml(config, schema);
    assert.match(text, /^# Where agents and admins connect\nlisten: "\[::1\]:7443"\n/);
    assert.match(text, /timeout: 1m30s/);
    assert.match(text, /mode: "0640"/);
    assert.deepEqual(loadYaml(schema, text, 'again.yaml'), config);
  });

  it('prints plain values without a schema', () => {
    assert.equal(toCommentedYaml({ a: 1, b: ['x'] }), 'a: 1\nb:\n  - x\n');
  });
});
