import winston from 'winston';
import { visibleLine } from '../text.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFormat = 'json' | 'console';

/** Fields that every line carries where they exist. */
export interface LogFields {
  cluster?: string;
  node?: string;
  certificate?: string;
  serial?: string;
  /** Stable error code. */
  code?: string;
  error?: string;
  [field: string]: string | number | boolean | undefined;
}

/** What the domain sees of logging. Messages are constant English sentences; what varies goes into the fields. Never a key, token or password. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose lines all carry these fields too. */
  child(fields: LogFields): Logger;
}

/** One line for a person. What strangers sent may stand in it: it makes no line of its own, and does not steer the terminal. */
export function consoleLine({ timestamp, level, message, ...fields }: Record<string, unknown>): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${/[\s"=]/.test(String(value)) ? JSON.stringify(value) : String(value)}`);
  return visibleLine([timestamp, String(level).toUpperCase().padEnd(5), message, ...rest].join(' '));
}

const consoleFormat = winston.format.printf(consoleLine);

/** Logs to standard error, where systemd's journal takes it from. */
export function createLogger(options: { level: LogLevel; format: LogFormat; component: string }): Logger {
  const root = winston.createLogger({
    level: options.level,
    levels: { error: 0, warn: 1, info: 2, debug: 3 },
    format: winston.format.combine(winston.format.timestamp(), options.format === 'json' ? winston.format.json() : consoleFormat),
    transports: [new winston.transports.Console({ stderrLevels: ['error', 'warn', 'info', 'debug'] })],
  });
  return wrap(root, { component: options.component });
}

function wrap(root: winston.Logger, base: LogFields): Logger {
  const write =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}): void =>
      void root.log({ level, message, ...base, ...fields });
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => wrap(root, { ...base, ...fields }),
  };
}

/** A logger whose lines also carry what these fields are at that moment. */
export function withFields(logger: Logger, fields: () => LogFields): Logger {
  return {
    debug: (message, more) => logger.debug(message, { ...fields(), ...more }),
    info: (message, more) => logger.info(message, { ...fields(), ...more }),
    warn: (message, more) => logger.warn(message, { ...fields(), ...more }),
    error: (message, more) => logger.error(message, { ...fields(), ...more }),
    child: (more) => withFields(logger.child(more), fields),
  };
}

/** Discards everything; for tests and for library use. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silentLogger };
