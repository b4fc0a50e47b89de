/**
 * The process that holds the token's library, started by TokenClient. Its calls may block for long, or end the process: neither may happen to the coordinator.
 * It reads the PIN by itself, so that the coordinator never has it.
 */
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Failure, Reply, Request, TokenCall } from './protocol.ts';
import { TokenError } from './return-values.ts';
import { Token } from './token.ts';

const goodbyeMs = 1000;
let token: Token | undefined;

async function answer(call: TokenCall): Promise<unknown> {
  if (call.type === 'open') {
    token = await Token.open(call);
    return { label: token.label, serial: token.serial };
  }
  if (token === undefined) throw new EvercertError('Internal', 'the token is not open');
  switch (call.type) {
    case 'list':
      return token.list();
    case 'find':
      return token.find(call.key);
    case 'generate':
      return token.generate(call.key, call.algorithm);
    case 'import':
      return token.import(call.key, call.parts);
    case 'sign':
      return token.sign(call);
    case 'delete':
      return token.delete(call.key);
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof TokenError)
    return { code: error.gone ? 'Unavailable' : 'FailedPrecondition', message: error.message, gone: error.gone };
  if (error instanceof EvercertError) return { code: error.code, message: error.message, gone: false };
  return { code: 'Internal', message: error instanceof Error ? error.message : String(error), gone: false };
}

function reply(message: Reply): void {
  // The coordinator may be gone meanwhile: then nobody waits for it.
  process.send?.(message, undefined, undefined, () => undefined);
}

process.on('message', ({ id, call }: Request) => {
  answer(call).then(
    (value) => reply({ id, answer: value }),
    (error: unknown) => reply({ id, failure: failureOf(error) }),
  );
});

// Who stops the coordinator's process group does not stop what it still signs with.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

process.once('disconnect', () => {
  const left = token?.close().catch(() => undefined) ?? Promise.resolve();
  // A thread that hangs in the library would hold an orderly exit up for ever.
  Promise.race([left, systemClock.sleep(goodbyeMs)]).then(end, end);
});

function end(): void {
  process.kill(process.pid, 'SIGKILL');
}
