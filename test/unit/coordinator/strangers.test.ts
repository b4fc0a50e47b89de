import assert from 'node:assert/strict';
import { networkOf, Strangers } from '@evercert/coordinator';
import { withCode } from '../../support/node-calls.ts';

describe('calls of strangers', () => {
  it('are bounded in all and of one network, and make room when they end, once', () => {
    const strangers = new Strangers({ inAll: 3, ofOne: 2 });
    const leave = strangers.enter('192.0.2.1:1000');
    strangers.enter('192.0.2.1:1001');
    assert.throws(() => strangers.enter('192.0.2.1:1002'), withCode('Overloaded'));
    strangers.enter('192.0.2.2:1000');
    assert.throws(() => strangers.enter('192.0.2.3:1000'), withCode('Overloaded'));
    leave();
    leave();
    assert.equal(strangers.size, 2);
    strangers.enter('192.0.2.1:1003');
    assert.throws(() => strangers.enter('192.0.2.1:1004'), withCode('Overloaded'));
  });

  for (const [peer, network] of [
    ['192.0.2.1:7443', '192.0.2.1'],
    ['::ffff:192.0.2.1:7443', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6:7443', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::6:7443', '2001:db8:1:2::/64'],
    ['2001:db8::1:7443', '2001:db8:0:0::/64'],
    ['::1:7443', '0:0:0:0::/64'],
    ['unknown', ''],
  ] as const) {
    it(`come from ${network === '' ? 'nowhere' : network} for ${peer}`, () => assert.equal(networkOf(peer), network));
  }
});
