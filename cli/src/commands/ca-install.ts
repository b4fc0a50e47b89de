import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem } from '@evercert/shared/x509';
import type { Command } from 'commander';
import { line } from '../environment.ts';
import { absolute, readSmall } from '../offline-root/files.ts';
import { type CommandContext, clusterArgument, withSession } from './session.ts';

interface InstallOptions {
  ca: string;
  certificate: string;
}

export function addInstallCommand(ca: Command, { environment }: CommandContext): void {
  ca.command('install')
    .summary('give a rotation the certificate that an offline root signed')
    .description(
      'Give the rotation of a CA that awaits its certificate what "evercert ca sign-request" made of its request: the certificate and all above it. It is checked whole before anything changes; then the rotation goes on.',
    )
    .argument('[cluster]', "cluster of the CA; by default --cluster or the context's")
    .requiredOption('--ca <name>', 'cluster-ca, etcd-ca or front-proxy-ca')
    .requiredOption('--certificate <file>', "PEM: the CA's certificate, then those above it, the root last")
    .action(async (named: string | undefined, options: InstallOptions, command: Command) => {
      const pem = (await readSmall(absolute(environment, options.certificate))).toString('utf8');
      // What is no certificate is told without asking the coordinator.
      certificatesFromPem(pem);
      await withSession(command, environment, async (session) => {
        const { api } = session;
        const cluster = clusterArgument(command, session, named);
        const { rotations } = await api.call('listCertificateAuthorityRotations', { cluster, id: '', all: false });
        const waiting = rotations.find((each) => each.certificateAuthority === options.ca && each.stage === 'AwaitingCertificate');
        if (!waiting)
          throw new EvercertError(
            'FailedPrecondition',
            `no rotation of ${options.ca} of cluster ${cluster} awaits a certificate; begin one: evercert ca rotate ${cluster} --ca ${options.ca} --intermediate`,
          );
        const { rotation } = await api.call('installCertificateAuthorityCertificate', { id: waiting.id, chainPem: pem });
        line(
          environment.out,
          `certificate of ${options.ca} of cluster ${cluster} installed: rotation ${waiting.id} is ${rotation?.stage ?? 'under way'}`,
        );
      });
    });
}
