import assert from 'node:assert/strict';
import { isUsage, parseRunOptions, type RunOptions, replacementFor, type Usage } from '@evercert/local';

function options(...args: string[]): RunOptions {
  const parsed = parseRunOptions(args);
  assert.ok(!isUsage(parsed), isUsage(parsed) ? parsed.text : '');
  return parsed;
}

function usage(...args: string[]): Usage {
  const parsed = parseRunOptions(args);
  assert.ok(isUsage(parsed), `${args.join(' ')} was accepted`);
  return parsed;
}

describe('the options of npm start', () => {
  it('run five nodes with etcd and leaves of one minute, until Ctrl-C, when none is given', () => {
    assert.deepEqual(options(), {
      durationMs: undefined,
      leafLifetimeSeconds: 60,
      keyAlgorithm: 'ecdsa-p384',
      layout: 'founding',
      coordinators: 1,
      workers: 2,
      etcd: true,
      kubeApiServer: undefined,
      runDir: undefined,
      summary: 'text',
    });
  });

  it('are all understood', () => {
    const args =
      '--duration 90s --leaf-lifetime 20s --key-algorithm rsa-4096 --layout kubeadm --coordinators 3 --workers 0 --no-etcd --kube-apiserver /k --run-dir /x --summary json';
    assert.deepEqual(options(...args.split(' ')), {
      durationMs: 90_000,
      leafLifetimeSeconds: 20,
      keyAlgorithm: 'rsa-4096',
      layout: 'kubeadm',
      coordinators: 3,
      workers: 0,
      etcd: false,
      kubeApiServer: '/k',
      runDir: '/x',
      summary: 'json',
    });
  });

  for (const [args, expected] of [
    ['--duration 90', /--duration <TIME>.*'90'.*90s or 10m/],
    ['--duration 0s', /time with a unit/],
    ['--leaf-lifetime 5s', /10s or more/],
    ['--leaf-lifetime 20500ms', /whole seconds/],
    ['--key-algorithm ecdsa-p256', /ecdsa-p384, rsa-4096/],
    ['--layout kubernetes', /founding, kubeadm/],
    ['--coordinators 0', /1 to 5/],
    ['--coordinators 6', /1 to 5/],
    ['--coordinators x', /1 to 5/],
    ['--workers -1', /0 to 100/],
    ['--workers 101', /0 to 100/],
    ['--workers two', /0 to 100/],
    ['--summary yaml', /text, json/],
    ['--durations 9s', /unknown option.*\n?.*--duration/],
    ['now', /too many arguments/],
  ] as const) {
    it(`refuse ${args} and say what they expect`, () => {
      const { text, exitCode } = usage(...args.split(' '));
      assert.match(text, expected);
      assert.equal(exitCode, 2);
    });
  }

  it('look for kube-apiserver where no path of it is given', () => {
    assert.equal(options('--kube-apiserver').kubeApiServer, true);
  });

  it('print their help with exit code 0', () => {
    const { text, exitCode } = usage('--help');
    assert.match(text, /--leaf-lifetime <TIME>.*\n.*default: 1m/);
    assert.equal(exitCode, 0);
  });
});

describe('the replacement policy of a local cluster', () => {
  it('is in proportion to the life of leaves, and between what makes sense', () => {
    const times = [10, 60, 3600, 4 * 86_400].map((seconds) => {
      const { graceSeconds, joinTimeoutSeconds, backoffSeconds } = replacementFor(seconds);
      return [graceSeconds, joinTimeoutSeconds, backoffSeconds];
    });
    assert.deepEqual(times, [
      [2, 60, 10],
      [10, 60, 30],
      [600, 900, 600],
      [600, 900, 600],
    ]);
  });
});
