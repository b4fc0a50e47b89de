import assert from 'node:assert/strict';
import { consoleLine } from '@evercert/shared/logging';
import { visible, visibleLine } from '@evercert/shared/text';

describe('visible text', () => {
  it('shows what would steer a terminal, and leaves everything else', () => {
    assert.equal(visible('a\u001b[2Jb\u009b31m\u007f\r\u202e'), 'a\\u001b[2Jb\\u009b31m\\u007f\\u000d\\u202e');
    assert.equal(visible('ä – 日本\t1\n2'), 'ä – 日本\t1\n2');
    assert.equal(visibleLine('1\n2'), '1\\n2');
  });

  it('stays the same text for readers of JSON', () => {
    const text = '\u009b\u007f\u202e';
    assert.equal(JSON.parse(visible(JSON.stringify(text))), text);
  });
});

describe('a line of the console log', () => {
  it('is one line, whatever strangers sent', () => {
    const line = consoleLine({
      timestamp: 'T',
      level: 'warn',
      message: 'refused "\n2026 INFO all is well\u001b[1A"',
      node: 'a\u001b[2J',
      none: undefined,
    });
    assert.equal(line, 'T WARN  refused "\\n2026 INFO all is well\\u001b[1A" node=a\\u001b[2J');
  });
});
