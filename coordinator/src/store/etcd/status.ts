import { AlarmRequest_AlarmAction, AlarmType, type Member } from '@evercert/proto/etcd';
import type { EvercertError } from '@evercert/shared/errors';
import { call } from './call.ts';
import type { Endpoint } from './endpoint.ts';
import { CallFailure, toCallFailure } from './errors.ts';
import type { EtcdStore } from './store.ts';

export interface EtcdStatus {
  /** What the configuration names. */
  endpoints: EndpointStatus[];
  /** All that etcd itself knows of. */
  members: { id: string; name: string; clientUrls: string[]; leader: boolean; learner: boolean }[];
  alarms: { member: string; alarm: string }[];
}

export interface EndpointStatus {
  endpoint: string;
  /** Why it cannot be asked; then nothing else is known. */
  error?: string;
  member?: string;
  version?: string;
  leader?: boolean;
  /** Size of its file, and how much of that is in use: the rest a defragmentation gives back. */
  dbBytes?: number;
  dbBytesInUse?: number;
  revision?: number;
  raftTerm?: number;
  /** What the member says is wrong with it. */
  errors?: string[];
}

const deadlineMs = 3000;

/** Asks every endpoint by itself, and one that answers for the members and alarms. */
export async function etcdStatus(store: EtcdStore): Promise<EtcdStatus> {
  const asked = await Promise.all(store.endpoints.all.map((endpoint) => ask(endpoint)));
  const well = asked.find(({ leaderId }) => leaderId !== undefined);
  const list: Member[] =
    well === undefined ? [] : (await call(well.endpoint.cluster.memberList.bind(well.endpoint.cluster), {}, { deadlineMs })).members;
  const names = new Map(list.map(({ id, name }) => [id, name]));
  return {
    endpoints: asked.map(({ status, memberId }) => ({
      ...status,
      ...(memberId !== undefined && { member: names.get(memberId) || memberId }),
    })),
    members: list.map(({ id, name, clientUrls, isLearner }) => ({
      id,
      name,
      clientUrls,
      learner: isLearner,
      leader: id === well?.leaderId,
    })),
    alarms: well === undefined ? [] : await alarms(well.endpoint, names),
  };
}

interface Asked {
  endpoint: Endpoint;
  status: EndpointStatus;
  memberId?: string;
  leaderId?: string;
}

async function ask(endpoint: Endpoint): Promise<Asked> {
  try {
    const { header, version, leader, dbSize, dbSizeInUse, raftTerm, errors } = await call(
      endpoint.maintenance.status.bind(endpoint.maintenance),
      {},
      { deadlineMs },
    );
    const memberId = header?.memberId ?? '';
    const status: EndpointStatus = {
      endpoint: endpoint.target,
      version,
      leader: leader === memberId,
      dbBytes: dbSize,
      dbBytesInUse: dbSizeInUse,
      revision: header?.revision ?? 0,
      raftTerm,
      errors,
    };
    return { endpoint, status, memberId, leaderId: leader };
  } catch (error) {
    return { endpoint, status: { endpoint: endpoint.target, error: told(error, endpoint).message } };
  }
}

async function alarms(endpoint: Endpoint, names: ReadonlyMap<string, string>): Promise<{ member: string; alarm: string }[]> {
  const request = { action: AlarmRequest_AlarmAction.GET, memberId: '0', alarm: AlarmType.NONE };
  const { alarms: raised } = await call(endpoint.maintenance.alarm.bind(endpoint.maintenance), request, { deadlineMs });
  const nameOf = (alarm: AlarmType): string =>
    alarm === AlarmType.NOSPACE ? 'NOSPACE' : alarm === AlarmType.CORRUPT ? 'CORRUPT' : String(alarm);
  return raised.map(({ memberId, alarm }) => ({ member: names.get(memberId) || memberId, alarm: nameOf(alarm) }));
}

function told(error: unknown, endpoint: Endpoint): EvercertError {
  return (error instanceof CallFailure ? error : toCallFailure(error, endpoint.target, endpoint.tlsError)).error;
}
