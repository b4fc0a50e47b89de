import assert from 'node:assert/strict';
import { type LogFields, type Logger, silentLogger, withFields } from '@evercert/shared/logging';

describe('a logger with fields', () => {
  it('puts on each line what they are at that moment, children included, and lets the line itself go before', () => {
    const lines: (LogFields | undefined)[] = [];
    const info = (_message: string, fields?: LogFields): void => void lines.push(fields);
    const base: Logger = {
      ...silentLogger,
      info,
      child: (child) => ({ ...base, info: (message, fields) => info(message, { ...child, ...fields }) }),
    };
    let cluster: string | undefined;
    const logger = withFields(base, () => (cluster === undefined ? {} : { cluster }));
    const child = logger.child({ certificate: 'apiserver' });
    logger.info('before');
    cluster = 'demo';
    logger.info('after', { node: 'cp-1' });
    child.info('child');
    logger.info('own', { cluster: 'other' });
    assert.deepEqual(lines, [{}, { cluster: 'demo', node: 'cp-1' }, { certificate: 'apiserver', cluster: 'demo' }, { cluster: 'other' }]);
  });
});
