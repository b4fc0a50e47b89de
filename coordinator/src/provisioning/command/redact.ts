import type { ActionCall, CreateCall } from '../types.ts';

/** Takes the join token, and its secret half, out of what a program has written. */
export function redactor(call: ActionCall & Partial<Pick<CreateCall, 'join'>>): (text: string) => string {
  const token = call.join?.token;
  if (token === undefined || token === '') return (text) => text;
  const secrets = [token, token.slice(token.indexOf('.') + 1)];
  return (text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text);
}
