/** The replacement policy over the protocol: what CreateCluster takes, and what is shown. */
import assert from 'node:assert/strict';
import { type DeepPartial, ReplacementPolicy } from '@evercert/proto';
import { defaultReplacementPolicy } from '@evercert/shared/manifest';
import { replacementPolicyFromProto, replacementPolicyToProto } from '@evercert/shared/wire';

const from = (given: DeepPartial<ReplacementPolicy>) => replacementPolicyFromProto(ReplacementPolicy.fromPartial(given));

describe('a replacement policy of the protocol', () => {
  it('stands for the defaults where it says nothing', () => {
    assert.deepEqual(replacementPolicyFromProto(undefined), defaultReplacementPolicy);
    assert.deepEqual(from({}), defaultReplacementPolicy);
    assert.deepEqual(from({ provisioner: 'machines', mode: 'dry-run', maxUnhealthy: '2', graceSeconds: 5 }), {
      ...defaultReplacementPolicy,
      provisioner: 'machines',
      mode: 'dry-run',
      maxUnhealthy: '2',
      graceSeconds: 5,
    });
  });

  it('is shown as it was given, windows too', () => {
    const given = ReplacementPolicy.fromPartial({
      ...replacementPolicyToProto(defaultReplacementPolicy),
      maintenanceWindows: [
        { name: 'once', from: new Date(1000), until: new Date(2000), nodes: ['w-1'] },
        { name: 'weekly', days: ['Sat', 'Sun'], start: '02:00', durationSeconds: 3600, labels: { rack: 'a' } },
      ],
    });
    assert.deepEqual(replacementPolicyToProto(replacementPolicyFromProto(given)), given);
  });

  for (const [given, expected] of [
    [{ mode: 'sometimes' }, /^replacement\.mode: expected one of active, dry-run, off, not "sometimes"/],
    [{ provisioner: 'No Name' }, /^replacement\.provisioner: /],
    [{ maxUnhealthy: '0' }, /^replacement\.max_unhealthy: expected a count/],
    [{ graceSeconds: -1 }, /^replacement\.grace_seconds: expected 1 to 2592000, not -1/],
    [{ maxConcurrent: 101 }, /^replacement\.max_concurrent: /],
    [{ backoffSeconds: 60, maxBackoffSeconds: 30 }, /^replacement\.max_backoff_seconds: /],
    [{ maintenanceWindows: [{ name: 'w' }] }, /^replacement\.maintenance_windows\[0\]: expected either from and until, or start/],
    [{ maintenanceWindows: [{ name: 'w', start: '02:00', from: new Date(0) }] }, /^replacement\.maintenance_windows\[0\]: /],
    [{ maintenanceWindows: [{ name: 'w', from: new Date(Number.NaN), until: new Date(0) }] }, /^replacement\.maintenance_windows\[0\]: /],
    [
      { maintenanceWindows: [{ name: 'w', from: new Date(2000), until: new Date(1000) }] },
      /^replacement\.maintenance_windows\[0\]\.until: /,
    ],
    [{ maintenanceWindows: [{ name: 'w', start: '02:00' }] }, /^replacement\.maintenance_windows\[0\]\.duration_seconds: /],
    [{ maintenanceWindows: [{ name: 'w', start: '02:00', durationSeconds: 60, nodes: ['Not A Name'] }] }, /nodes\[0\]: /],
    [{ maintenanceWindows: Array(51).fill({ name: 'w', start: '02:00', durationSeconds: 60 }) }, /^replacement\.maintenance_windows: /],
  ] as const) {
    it(`is refused, naming the field, for ${JSON.stringify(given).slice(0, 90)}`, () => {
      assert.throws(
        () => from(given as DeepPartial<ReplacementPolicy>),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'InvalidArgument');
          assert.match(error.message, expected);
          return true;
        },
      );
    });
  }
});
