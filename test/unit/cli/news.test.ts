import assert from 'node:assert/strict';
import { FakeClock } from '@evercert/shared/clock';
import { News } from '../../../cli/src/output/news.ts';

describe('the rows of a watch', () => {
  function watch() {
    const clock = new FakeClock();
    const rows: string[] = [];
    const news = new News<string>(clock, (item) => rows.push(`later ${item}`));
    const take = (item: string, steady: string, times: string): void => {
      if (news.take('demo/cp-1', item, { steady, times })) rows.push(item);
    };
    return { clock, rows, news, take };
  }

  it('come at once where more than times changed, and one for all changes of times within some seconds', async () => {
    const { clock, rows, take } = watch();
    take('first', 'Ready', '1');
    for (const renewal of ['2', '3', '4']) {
      take(`renewed ${renewal}`, 'Ready', renewal);
      await clock.advance(1000);
    }
    assert.deepEqual(rows, ['first']);
    await clock.advance(2000);
    assert.deepEqual(rows, ['first', 'later renewed 4']);
    await clock.advance(60_000);
    take('the same', 'Ready', '4');
    await clock.advance(60_000);
    assert.equal(rows.length, 2);
  });

  it('tell at once what was held back, when something else changes', async () => {
    const { clock, rows, take } = watch();
    take('first', 'Ready', '1');
    take('renewed', 'Ready', '2');
    take('failing', 'RenewalFailing', '2');
    await clock.advance(60_000);
    assert.deepEqual(rows, ['first', 'failing']);
    assert.equal(clock.pending, 0);
  });

  it('lose no last state when the watch ends, and tell nothing of what is no more', () => {
    const { clock, rows, news, take } = watch();
    take('first', 'Ready', '1');
    take('renewed', 'Ready', '2');
    news.end();
    assert.deepEqual(rows, ['first', 'later renewed']);
    take('renewed again', 'Ready', '3');
    news.forget('demo/cp-1');
    news.end();
    assert.equal(rows.length, 2);
    assert.equal(clock.pending, 0);
  });
});
