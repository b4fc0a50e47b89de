/** Runs the agent as a process: signals, systemd, and the end. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { createLogger, type Logger } from '@evercert/shared/logging';
import { createSystemdNotifier, type SystemdNotifier } from '@evercert/shared/systemd';
import { version } from '@evercert/shared/version';
import { Agent } from './agent.ts';
import type { AgentConfig } from './config.ts';

export interface ProcessContext {
  clock: Clock;
  random: () => number;
  process: NodeJS.Process;
}

/** When stopping takes longer, the process ends anyway: every step on disk is safe to leave. */
const stopMs = 8000;
/** systemd is told of a new status no more often than this. */
const statusEveryMs = 1000;

/** Runs until SIGTERM or SIGINT. Errors: what keeps the agent from starting. */
export async function runAgent(config: AgentConfig, { clock, random, process }: ProcessContext): Promise<void> {
  const logger = createLogger({ ...config.log, component: 'agent' }).child({ node: config.node.name });
  crashOnUnhandled(process, logger, clock);
  const notifier = createSystemdNotifier({ env: process.env, clock, logger, pid: process.pid });
  const abort = new AbortController();
  let stopWatchdog = (): void => {};
  const agent = new Agent({
    config,
    clock,
    random,
    logger,
    env: process.env,
    pid: process.pid,
    onReady: (status) => {
      logger.info('The agent is running', {
        version,
        pid: process.pid,
        endpoints: config.coordinator.endpoints.join(','),
        stateDir: config.stateDir,
      });
      void notifier.ready(status);
      stopWatchdog = notifier.startWatchdog(() => agent.alive());
    },
    onStatus: throttled((status) => void notifier.status(status), clock),
  });
  const stop = (signal: NodeJS.Signals): void => {
    logger.info('The agent stops', { signal });
    void notifier.stopping();
    abort.abort();
    clock.after(stopMs, () => {
      logger.error('Stopping took too long; the process ends now');
      process.exit(1);
    });
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.on('SIGHUP', () => {
    logger.info('SIGHUP: all files are looked at now');
    agent.scan();
  });
  try {
    await agent.run(abort.signal);
    logger.info('The agent has stopped');
  } catch (error) {
    await reportFailure(error, logger, notifier);
    throw error;
  } finally {
    stopWatchdog();
  }
}

async function reportFailure(caught: unknown, logger: Logger, notifier: SystemdNotifier): Promise<void> {
  const error = toEvercertError(caught);
  logger.error('The agent cannot run', { code: error.code, error: error.message });
  await notifier.status(`cannot run: ${error.message}`);
}

/** A fault of the program itself: one line, then the end; systemd starts it anew. */
function crashOnUnhandled(process: NodeJS.Process, logger: Logger, clock: Clock): void {
  const crash = (kind: string) => (caught: unknown) => {
    const stack = caught instanceof Error ? (caught.stack ?? caught.message) : String(caught);
    logger.error('A fault in the program; the agent ends and has to be started anew', { kind, error: stack });
    // The log's stream gets a moment to write.
    clock.after(100, () => process.exit(70));
  };
  process.on('unhandledRejection', crash('unhandled rejection'));
  process.on('uncaughtException', crash('uncaught exception'));
}

/** Calls at most once in `statusEveryMs`, with the newest value, and not at all for the same value again. */
function throttled(call: (value: string) => void, clock: Clock): (value: string) => void {
  let latest = '';
  let sent = '';
  let waiting = false;
  return (value) => {
    latest = value;
    if (waiting || latest === sent) return;
    waiting = true;
    clock.after(statusEveryMs, () => {
      waiting = false;
      if (latest === sent) return;
      sent = latest;
      call(latest);
    });
  };
}
