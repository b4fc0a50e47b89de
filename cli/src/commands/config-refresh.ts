import { EvercertError } from '@evercert/shared/errors';
import { createCsr, generateKeyPair, parseCertificate, publicKeyPin, verifyChain } from '@evercert/shared/x509';
import type { Command } from 'commander';
import type { AdminApi } from '../client.ts';
import { type ContextMaterial, isBy, loadMaterial, writeAuthorities, writeClientPair } from '../contexts/index.ts';
import { line } from '../environment.ts';
import { type CommandContext, withSession } from './session.ts';

const help = `
To be run while both control CAs are trusted: from the moment the new one signs ('Reissuing' in 'evercert ca status') to the end of the rotation. Nothing is
changed when the context is up to date. The new certificate ends when the old one would have.`;

/** `evercert config refresh`: what an admin needs who is not on the coordinator's machine, when the control CA is replaced. */
export function addConfigRefreshCommand(config: Command, context: CommandContext): void {
  config
    .command('refresh')
    .summary('take up a new control CA, and have the client certificate signed by it')
    .description(
      'Take up the control CAs that the coordinator trusts now into the context, and have its client certificate signed by the present one.',
    )
    .addHelpText('after', help)
    .action(async (_options: object, command: Command) => {
      const { environment } = context;
      await withSession(command, environment, async ({ api, context: resolved }) => {
        const material = await loadMaterial(resolved);
        const nowMs = environment.clock.nowMs();
        const { anchors, present } = await trusted(api, nowMs);
        const news: string[] = [];
        if (!sameSet(anchors, material.trustAnchors)) {
          await writeAuthorities(resolved, anchors);
          news.push(`trusts ${anchors.map((der) => publicKeyPin(der)).join(' and ')}`);
        }
        if (!isBy(material.chain, present, nowMs)) {
          const { chain, privateKey } = await newPair(api, material, anchors, nowMs);
          await writeClientPair(resolved, chain, privateKey);
          news.push(`has another client certificate, until ${parseCertificate(chain[0] as Buffer).notAfter.toISOString()}`);
        }
        line(environment.out, `Context "${resolved.name}" ${news.length > 0 ? news.join('; ') : 'is up to date'}.`);
      });
    });
}

/** The coordinator's word, over a connection that it has proved itself on; and never CAs under which it does not stand itself. */
async function trusted(api: AdminApi, atMs: number): Promise<{ anchors: Buffer[]; present: Buffer }> {
  const { trustAnchors, caPin } = await api.call('getServerInfo', {});
  const anchors = trustAnchors.map((der) => Buffer.from(der));
  const present = anchors.find((der) => publicKeyPin(der) === caPin);
  if (!present)
    throw new EvercertError('FailedPrecondition', 'this coordinator does not tell which control CAs it trusts: upgrade it first');
  verifyChain({ chain: api.presented(), anchors, atMs, usage: 'server auth' });
  return { anchors, present };
}

async function newPair(api: AdminApi, { chain: [before] }: ContextMaterial, anchors: Buffer[], atMs: number) {
  const { commonName = 'admin' } = before ? parseCertificate(before) : {};
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const answer = await api.call('renewAdminCertificate', { csr: await createCsr({ privateKey, commonName }) });
  const chain = answer.chain.map((der) => Buffer.from(der));
  verifyChain({ chain, anchors, atMs, usage: 'client auth' });
  return { chain, privateKey };
}

function sameSet(one: readonly Buffer[], other: readonly Buffer[]): boolean {
  return one.length === other.length && one.every((der) => other.some((each) => each.equals(der)));
}
