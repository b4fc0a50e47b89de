import { EvercertError } from '@evercert/shared/errors';
import { type Answer, type CommandAction, exitCodes, parseAnswer } from './protocol.ts';
import { maxOutputBytes, type RunResult } from './run.ts';

interface Ended {
  action: CommandAction;
  file: string;
  result: RunResult;
  redact: (text: string) => string;
  /** Of standard error. */
  lastLine: string;
  timeoutMs: number;
}

/** The answer of a program that did what it was asked; of every other, an error that says why. */
export function outcomeOf(ended: Ended): Answer {
  const { action, result, redact, timeoutMs } = ended;
  if (result.end === 'aborted') throw failure(ended, 'Cancelled', 'was ended: the coordinator stops, or the action was given up');
  if (result.end === 'timeout') throw failure(ended, 'DeadlineExceeded', `was ended after its time limit of ${timeoutMs / 1000} s`);
  if (result.code !== 0) throw failed(ended);
  if (result.tooLong) {
    throw new EvercertError(
      'FailedPrecondition',
      `${action} wrote more than ${maxOutputBytes / 1024} KiB to standard output; expected one JSON object: send the rest to standard error`,
    );
  }
  return parseAnswer(action, result.output, redact);
}

function failed(ended: Ended): EvercertError {
  const { code, signal } = ended.result;
  const answer = lenientAnswer(ended);
  const said = answer?.message ?? '';
  if (code === exitCodes.config) return failure(ended, 'FailedPrecondition', 'says that a person must act (exit code 78)', said);
  if (code === exitCodes.tryAgain || code === exitCodes.unavailable) {
    const retryAfterSeconds = answer?.retryAfterSeconds;
    return failure(ended, 'Unavailable', `asks to be run again later (exit code ${code})`, said, retryAfterSeconds);
  }
  return failure(ended, 'Internal', code === undefined ? `was ended by ${signal}` : `failed with exit code ${code}`, said);
}

/** A program that failed need not have written anything fit to be read. */
function lenientAnswer({ action, result, redact }: Ended): Answer | undefined {
  try {
    return result.tooLong ? undefined : parseAnswer(action, result.output, redact);
  } catch (error) {
    if (error instanceof EvercertError) return undefined;
    throw error;
  }
}

function failure(
  { action, file, lastLine }: Ended,
  code: 'Cancelled' | 'DeadlineExceeded' | 'FailedPrecondition' | 'Internal' | 'Unavailable',
  what: string,
  said = '',
  retryAfterSeconds?: number,
): EvercertError {
  const told = said || lastLine;
  const message = `${action} (${file}) ${what}${told === '' ? '; it wrote nothing to standard error' : `: ${told.slice(0, 300)}`}`;
  return new EvercertError(code, message, retryAfterSeconds === undefined ? {} : { retryAfterMs: Math.round(retryAfterSeconds * 1000) });
}
