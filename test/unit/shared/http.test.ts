import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { EvercertError } from '@evercert/shared/errors';
import { readText } from '@evercert/shared/http';

describe('the body of a message', () => {
  const tooLong = (): EvercertError => new EvercertError('InvalidArgument', 'too long');

  it('is read whole, with characters that are cut between two parts', async () => {
    const bytes = Buffer.from('a certificate for zürich');
    assert.equal(await readText(Readable.from([bytes.subarray(0, 19), bytes.subarray(19)]), bytes.length, tooLong), bytes.toString());
    assert.equal(await readText(Readable.from([]), 0, tooLong), '');
  });

  it('is not read beyond its bound', async () => {
    let given = 0;
    const endless = Readable.from(
      (function* () {
        for (;;) {
          given += 1;
          yield Buffer.alloc(10);
        }
      })(),
      { highWaterMark: 1 },
    );
    await assert.rejects(readText(endless, 95, tooLong), { code: 'InvalidArgument' });
    assert.ok(given < 20 && endless.destroyed);
  });
});
