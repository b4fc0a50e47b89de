import { MaintenanceClient } from '@evercert/proto/etcd';
import type { Clock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { readClientMaterial } from './credentials.ts';
import type { WriterMember } from './writer.ts';

export interface MemberHealth {
  healthy: boolean;
  /** Version of etcd, or why it does not answer. */
  detail: string;
}

/** Asks a member, over a connection of its own, whether it is well: it knows a leader and raises no alarm. Never throws. */
export async function memberHealth({ target, files }: Pick<WriterMember, 'target' | 'files'>, clock: Clock): Promise<MemberHealth> {
  try {
    const material = await readClientMaterial(files, clock);
    const client = new MaintenanceClient(target, createClientCredentials(material), {
      'grpc.use_local_subchannel_pool': 1,
    });
    try {
      const { errors, version } = await unary(client.status.bind(client), {}, { deadlineMs: 2000 });
      return errors.length > 0 ? { healthy: false, detail: errors.join('; ') } : { healthy: true, detail: version };
    } finally {
      client.close();
    }
  } catch (error) {
    return { healthy: false, detail: error instanceof Error ? error.message : String(error) };
  }
}
