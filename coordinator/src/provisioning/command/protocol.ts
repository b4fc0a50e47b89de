/** What an executable is told and what it may answer; docs/provisioners.md describes it for operators. */
import { canonicalAddress } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { visibleLine } from '@evercert/shared/text';
import { z } from 'zod';
import type { ActionCall, CreateCall, JoinFacts, NewNode } from '../types.ts';

export const apiVersion = 'provisioner.evercert.io/v1';

export const commandActions = ['cordon', 'uncordon', 'drain', 'remove', 'allocate', 'create', 'discard'] as const;
export type CommandAction = (typeof commandActions)[number];

/** sysexits.h */
export const exitCodes = { unavailable: 69, tryAgain: 75, config: 78 } as const;

type Told = ActionCall & Partial<Pick<CreateCall, 'newNode' | 'join'>>;

/** The one line of JSON on standard input. */
export function requestText(action: CommandAction, call: Told, timeoutMs: number): string {
  const { name, labels, addresses, dnsNames } = call.node;
  const request = {
    apiVersion,
    action,
    idempotencyKey: call.idempotencyKey,
    timeoutSeconds: Math.floor(timeoutMs / 1000),
    replacement: { id: call.replacementId, attempt: call.attempt },
    cluster: call.cluster,
    node: { name, labels, addresses, dnsNames },
    ...(call.newNode !== undefined && { newNode: newNodeText(call.newNode) }),
    ...(call.join !== undefined && { join: joinText(call.join) }),
  };
  return `${JSON.stringify(request)}\n`;
}

function newNodeText({ name, machine, labels, addresses, dnsNames }: NewNode): object {
  return { name, machine, labels, addresses, dnsNames };
}

function joinText({ token, tokenExpiresAtMs, endpoints, caPins }: JoinFacts): object {
  return { token, tokenExpiresAt: new Date(tokenExpiresAtMs).toISOString(), endpoints, caPins };
}

const nodeName = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*$/;

const common = {
  message: z.string().max(4096).default(''),
  retryAfterSeconds: z.number().min(0).max(86_400).optional(),
};

const answers = {
  allocate: z.strictObject({
    ...common,
    nodeName: z.string().regex(nodeName, { error: 'expected the name of a node, such as "worker-7"' }).optional(),
    machine: z.string().max(253).default(''),
    addresses: z
      .array(
        z
          .string()
          .refine((text) => canonicalAddress(text) !== undefined, { error: 'expected an IP address' })
          .transform((text) => canonicalAddress(text)!),
      )
      .max(16)
      .optional(),
  }),
  others: z.strictObject({ ...common, machine: z.string().max(253).default('') }),
} as const;

export interface Answer {
  message: string;
  machine: string;
  retryAfterSeconds?: number | undefined;
  nodeName?: string | undefined;
  addresses?: string[] | undefined;
}

/** Nothing at all is an answer too. FailedPrecondition: not what was expected, and what was. */
export function parseAnswer(action: CommandAction, output: Buffer, redact: (text: string) => string): Answer {
  const text = redact(output.toString().trim());
  if (text === '') return { message: '', machine: '' };
  const schema = action === 'allocate' ? answers.allocate : answers.others;
  const result = schema.safeParse(parseJson(action, text));
  if (result.success) return { ...result.data, message: visibleLine(result.data.message) };
  const why = result.error.issues
    .slice(0, 3)
    .map(({ path, message }) => [path.join('.'), message].filter((part) => part !== '').join(': '));
  throw new EvercertError(
    'FailedPrecondition',
    `the answer of ${action} on standard output is not valid: ${why.join('; ')}; known fields: ${Object.keys(schema.shape).join(', ')}`,
  );
}

function parseJson(action: CommandAction, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const found = visibleLine(text.slice(0, 60));
    throw new EvercertError(
      'FailedPrecondition',
      `${action} wrote no JSON object to standard output, but "${found}"; expected one object such as {"message":"done"}, or nothing`,
      { cause },
    );
  }
}
