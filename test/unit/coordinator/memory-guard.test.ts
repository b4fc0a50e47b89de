import assert from 'node:assert/strict';
import { coreDumpWarning, refuseRevealingOptions } from '@evercert/coordinator';

describe('the guard of the memory', () => {
  it('refuses every option of Node that shows what is in memory, wherever it comes from', () => {
    for (const option of [
      '--inspect',
      '--inspect-brk=0.0.0.0:9229',
      '--inspect-wait',
      '--heapsnapshot-signal=SIGUSR2',
      '--heapsnapshot-near-heap-limit=3',
      '--heap-prof',
    ]) {
      const refused = { code: 'FailedPrecondition', message: new RegExp(option.split('=')[0] ?? '') };
      assert.throws(() => refuseRevealingOptions([option], {}), refused);
      assert.throws(() => refuseRevealingOptions([], { NODE_OPTIONS: `--max-old-space-size=256 ${option}` }), refused);
    }
    refuseRevealingOptions(['--disable-sigusr1', '--cpu-prof'], { NODE_OPTIONS: '--max-old-space-size=256' });
    refuseRevealingOptions([], {});
  });

  it('warns where the kernel may write a core dump, and only there', () => {
    const limits = (soft: string): string =>
      `Limit                     Soft Limit           Hard Limit           Units     \nMax core file size        ${soft.padEnd(21)}unlimited            bytes     \n`;
    assert.equal(coreDumpWarning(limits('0')), undefined);
    assert.equal(coreDumpWarning(undefined), undefined);
    assert.match(coreDumpWarning(limits('unlimited')) ?? '', /core dumps are possible \(limit unlimited\).*LimitCORE=0/);
    assert.match(coreDumpWarning(limits('1048576')) ?? '', /limit 1048576/);
  });
});
