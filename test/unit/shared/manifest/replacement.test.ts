/** What a Cluster document says of replacement. */
import assert from 'node:assert/strict';
import {
  type ClusterManifest,
  type ClusterPolicy,
  defaultClusterPolicy,
  defaultReplacementPolicy,
  formatTimeOfDay,
  mergePolicy,
  parseDocuments,
  parseMaxUnhealthy,
  parseTimeOfDay,
  type ReplacementPolicy,
  replacementFault,
  replacementModes,
  replacementPolicyOf,
  toYaml,
  weekdays,
} from '@evercert/shared/manifest';
import fc from 'fast-check';

const head = 'apiVersion: evercert.io/v1\nkind: Cluster\nmetadata: { name: demo }\nspec:\n  replacement:\n';
const parse = (lines: string) => parseDocuments(head + lines.replace(/^/gm, '    '), { file: 'x.yaml' });
const specOf = (lines: string): Partial<ReplacementPolicy> => {
  const { documents, faults } = parse(lines);
  assert.deepEqual(faults, []);
  return (documents[0]!.document as ClusterManifest).spec.replacement ?? {};
};
const faultOf = (lines: string): string => {
  const [fault] = parse(lines).faults;
  return `${fault?.line} ${fault?.field}: ${fault?.message}`;
};

describe('a replacement policy in a Cluster document', () => {
  it('says everything that a policy holds', () => {
    const spec = specOf(`provisioner: machines
mode: dry-run
grace: 10m
maxUnhealthy: 2
maxConcurrent: 2
maxPerHour: 12
drainTimeout: 5m
joinTimeout: 15m
backoff: 10m
maxBackoff: 6h
maintenanceWindows:
  - { name: holidays, from: 2026-12-24T00:00:00Z, until: "2027-01-02T00:00:00+01:00" }
  - { name: backups, days: [Sat, Sun], start: 02:00, duration: 4h, nodes: [w-1], labels: { rack: a } }
  - { name: nights, start: "23:30", duration: 90m }`);
    assert.deepEqual(spec, {
      provisioner: 'machines',
      mode: 'dry-run',
      graceSeconds: 600,
      maxUnhealthy: '2',
      maxConcurrent: 2,
      maxPerHour: 12,
      drainTimeoutSeconds: 300,
      joinTimeoutSeconds: 900,
      backoffSeconds: 600,
      maxBackoffSeconds: 21_600,
      maintenanceWindows: [
        {
          name: 'holidays',
          time: { type: 'once', fromMs: Date.UTC(2026, 11, 24), untilMs: Date.UTC(2027, 0, 1, 23) },
          selector: {},
        },
        {
          name: 'backups',
          time: { type: 'recurring', days: ['Sat', 'Sun'], startMinutes: 120, durationSeconds: 14_400 },
          selector: { nodes: ['w-1'], labels: { rack: 'a' } },
        },
        { name: 'nights', time: { type: 'recurring', days: [], startMinutes: 1410, durationSeconds: 5400 }, selector: {} },
      ],
    });
  });

  it('changes nothing but what it says, the windows as a whole', () => {
    const before = mergePolicy(defaultClusterPolicy, { replacement: specOf('provisioner: machines\nmaxUnhealthy: 25%') });
    const after = mergePolicy(before, { replacement: specOf('mode: off') });
    assert.deepEqual(replacementPolicyOf(after), {
      ...defaultReplacementPolicy,
      provisioner: 'machines',
      maxUnhealthy: '25%',
      mode: 'off',
    });
    assert.deepEqual(mergePolicy(before, { dnsDomain: 'x.test' }).replacement, before.replacement);
  });

  it('is the default in clusters of earlier releases', () => {
    const { replacement: _none, ...rest } = defaultClusterPolicy;
    const earlier: ClusterPolicy = rest;
    assert.deepEqual(replacementPolicyOf(earlier), defaultReplacementPolicy);
    assert.deepEqual(replacementPolicyOf(mergePolicy(earlier, { replacement: { maxPerHour: 3 } })), {
      ...defaultReplacementPolicy,
      maxPerHour: 3,
    });
  });

  for (const [lines, expected] of [
    ['mode: sometimes', /^6 spec\.replacement\.mode: /],
    ['provisionr: x', /^6 spec\.replacement\.provisionr: .*provisioner/],
    ['provisioner: Machines!', /^6 spec\.replacement\.provisioner: expected a name of lower-case/],
    ['grace: 10', /^6 spec\.replacement\.grace: expected a duration/],
    ['grace: 0s', /^6 spec\.replacement\.grace: expected at least 1s/],
    ['maxUnhealthy: 0', /^6 spec\.replacement\.maxUnhealthy: expected a count .*, found the number 0/],
    ['maxUnhealthy: 140%', /^6 spec\.replacement\.maxUnhealthy: /],
    ['maxUnhealthy: [2]', /^6 spec\.replacement\.maxUnhealthy: /],
    ['maxConcurrent: 0', /^6 spec\.replacement\.maxConcurrent: /],
    ['maxPerHour: 1.5', /^6 spec\.replacement\.maxPerHour: /],
    ['backoff: 1h\nmaxBackoff: 30m', /^7 spec\.replacement\.maxBackoff: expected at least the backoff of 1h, not 30m/],
    [
      'maintenanceWindows:\n  - { name: a }',
      /^7 spec\.replacement\.maintenanceWindows\[0\]\.start: missing; expected start and duration, or from and until/,
    ],
    ['maintenanceWindows:\n  - name: a\n    from: 2026-01-01T00:00:00Z', /until: missing/],
    ['maintenanceWindows:\n  - name: a\n    until: 2026-01-01T00:00:00Z', /from: missing/],
    ['maintenanceWindows:\n  - name: a\n    start: 02:00', /duration: missing/],
    [
      'maintenanceWindows:\n  - name: a\n    start: 25:00\n    duration: 1h',
      /^8 .*start: expected a time of day \(UTC\) such as "02:00", found "25:00"/,
    ],
    ['maintenanceWindows:\n  - name: a\n    from: tomorrow\n    until: 2026-01-01T00:00:00Z', /^8 .*from: expected a time of RFC 3339/],
    [
      'maintenanceWindows:\n  - name: a\n    from: 2026-01-02T00:00:00Z\n    until: 2026-01-01T00:00:00Z',
      /^9 .*until: expected an end after the begin/,
    ],
    [
      'maintenanceWindows:\n  - name: a\n    from: 2026-01-01T00:00:00Z\n    until: 2026-01-02T00:00:00Z\n    days: [Mon]',
      /^10 .*days: expected either from and until/,
    ],
    ['maintenanceWindows:\n  - { name: a, days: [Monday], start: "02:00", duration: 1h }', /days\[0\]/],
    [
      'maintenanceWindows:\n  - { name: a, start: "02:00", duration: 1h }\n  - { name: a, start: "03:00", duration: 1h }',
      /a name of its own/,
    ],
  ] as const) {
    it(`is refused with its place at ${lines.replaceAll(/\n\s*/g, ', ')}`, () => assert.match(faultOf(lines), expected));
  }

  it('may be wrong in what two documents say together', () => {
    assert.equal(replacementFault(defaultReplacementPolicy), undefined);
    assert.match(replacementFault({ ...defaultReplacementPolicy, maxBackoffSeconds: 5 }) ?? '', /^maxBackoff: /);
  });

  it('is written and read again as the same, whatever it says', () => {
    const seconds = fc.integer({ min: 1, max: 86_400 });
    const name = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    const selector = fc.record(
      {
        nodes: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }),
        labels: fc.dictionary(name, fc.constantFrom('', '1', 'true', '1e3')),
      },
      { requiredKeys: [] },
    );
    const time = fc.oneof(
      fc
        .tuple(fc.integer({ min: 0, max: 4e12 }), seconds)
        .map(([fromMs, length]) => ({ type: 'once' as const, fromMs, untilMs: fromMs + length * 1000 })),
      fc.record({
        type: fc.constant('recurring' as const),
        days: fc.subarray([...weekdays]),
        startMinutes: fc.integer({ min: 0, max: 1439 }),
        durationSeconds: seconds,
      }),
    );
    const policy: fc.Arbitrary<Partial<ReplacementPolicy>> = fc.record(
      {
        provisioner: fc.oneof(fc.constant(''), name),
        mode: fc.constantFrom(...replacementModes),
        graceSeconds: seconds,
        maxUnhealthy: fc.oneof(
          fc.integer({ min: 1, max: 99_999 }).map(String),
          fc.integer({ min: 1, max: 100 }).map((percent) => `${percent}%`),
        ),
        maxConcurrent: fc.integer({ min: 1, max: 100 }),
        maxPerHour: fc.integer({ min: 1, max: 1000 }),
        drainTimeoutSeconds: seconds,
        joinTimeoutSeconds: seconds,
        backoffSeconds: seconds,
        maxBackoffSeconds: fc.constant(86_400),
        maintenanceWindows: fc.uniqueArray(fc.record({ name, time, selector }), { selector: (window) => window.name, maxLength: 4 }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(policy, (replacement) => {
        const document: ClusterManifest = { kind: 'Cluster', metadata: { name: 'demo' }, spec: { replacement } };
        const { documents, faults } = parseDocuments(toYaml(document), { file: 'x.yaml' });
        assert.deepEqual(faults, []);
        assert.deepEqual(documents[0]?.document, structuredClone(document));
      }),
      { numRuns: 60 },
    );
  });
});

describe('the small words of a replacement policy', () => {
  it('are a count or a percentage', () => {
    assert.deepEqual(['2', '40%', '100%', '0', '0%', '101%', '-1', '4.5%', '40 %', ''].map(parseMaxUnhealthy), [
      { count: 2 },
      { percent: 40 },
      { percent: 100 },
      ...Array(7).fill(undefined),
    ]);
  });

  it('are times of day', () => {
    assert.deepEqual(['00:00', '02:30', '23:59', '24:00', '2:00', '02:60', '02:00:00'].map(parseTimeOfDay), [
      0,
      150,
      1439,
      ...Array(4).fill(undefined),
    ]);
    assert.equal(formatTimeOfDay(150), '02:30');
  });
});
