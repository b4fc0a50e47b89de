import assert from 'node:assert/strict';
import { type AddressQuestion, decideAddresses } from '@evercert/coordinator';

const holders: Record<string, string> = { '10.0.0.9': 'other', '10.0.0.5': 'me' };

function decide(question: Partial<AddressQuestion>): { accepted: string[]; refused: string[] } {
  const { accepted, refused } = decideAddresses({
    node: 'me',
    claimed: [],
    registered: ['192.0.2.1'],
    ranges: ['10.0.0.0/8', 'fd00::/8'],
    holder: (address) => holders[address],
    ...question,
  });
  return { accepted, refused: refused.map(({ address }) => address) };
}

describe('the addresses that a node brings', () => {
  const cases: [string, Partial<AddressQuestion>, string[], string[]][] = [
    ['one in an allowed range', { claimed: ['10.1.2.3'] }, ['10.1.2.3'], []],
    ['one outside', { claimed: ['172.16.0.1'] }, [], ['172.16.0.1']],
    ['a registered one, which needs no range', { claimed: ['192.0.2.1'], ranges: [] }, [], []],
    ['one that another node holds', { claimed: ['10.0.0.9'] }, [], ['10.0.0.9']],
    ['one that it holds already', { claimed: ['10.0.0.5'] }, ['10.0.0.5'], []],
    ['one in other spellings, once', { claimed: ['10.0.0.7', '::ffff:10.0.0.7', 'fd00::1', 'FD00:0::1'] }, ['10.0.0.7', 'fd00::1'], []],
    ['what is no address', { claimed: ['nonsense', '10.0.0', '10.0.0.256', ''] }, [], ['nonsense', '10.0.0', '10.0.0.256', '']],
    ['without any allowed range', { claimed: ['10.1.2.3'], ranges: [] }, [], ['10.1.2.3']],
    ['an IPv4 address against an IPv6 range', { claimed: ['10.1.2.3'], ranges: ['::/0'] }, [], ['10.1.2.3']],
  ];
  for (const [what, question, accepted, refused] of cases) {
    it(`are decided for ${what}`, () => assert.deepEqual(decide(question), { accepted, refused }));
  }

  it('are bounded in number', () => {
    const claimed = Array.from({ length: 100 }, (_, i) => `10.2.0.${i}`);
    assert.equal(decide({ claimed }).accepted.length, 32);
  });
});
