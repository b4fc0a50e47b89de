import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError } from '@evercert/shared/files';

describe('the errno of a file error', () => {
  it('is that of the system call, before and after it became one of ours', async () => {
    const error: unknown = await mkdir(tmpdir()).catch((thrown: unknown) => thrown);
    assert.equal(errnoOf(error), 'EEXIST');
    assert.equal(errnoOf(toFileError(error, 'make the folder', tmpdir())), 'EEXIST');
  });

  it('is empty for what no system call has thrown', () => {
    assert.deepEqual([new EvercertError('FileSystem', 'x'), new Error('x'), 'x', undefined].map(errnoOf), ['', '', '', '']);
  });
});
