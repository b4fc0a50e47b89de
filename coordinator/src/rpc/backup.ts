import type { AdminServiceServer, CreateBackupRequest, CreateBackupResponse } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { type BackupOptions, createBackup } from '../backup/index.ts';
import type { EventRecorder } from '../events/recorder.ts';
import type { Store } from '../store/index.ts';
import { actorOf } from './callers.ts';
import { drained } from './drained.ts';
import type { CallContext, Guard } from './guard.ts';

export interface BackupServiceOptions {
  guard: Guard;
  store: Store;
  clock: Clock;
  events: EventRecorder;
  /** What is beside the store. */
  backup: Pick<BackupOptions, 'caKeys' | 'keysDirectory'>;
}

/** Small items are sent together. */
const pieceBytes = 64 * 1024;

/** The part of the admin API that makes backups. */
export function backupMethods({ guard, ...options }: BackupServiceOptions): Pick<AdminServiceServer, 'createBackup'> {
  return {
    createBackup: guard.stream((call: ServerWritableStream<CreateBackupRequest, CreateBackupResponse>, context) =>
      sendBackup(call, context, options),
    ),
  };
}

async function sendBackup(
  call: ServerWritableStream<CreateBackupRequest, CreateBackupResponse>,
  { caller, signal }: CallContext,
  { store, clock, events, backup }: Omit<BackupServiceOptions, 'guard'>,
): Promise<void> {
  let bytes = 0;
  for await (const data of together(createBackup({ ...backup, store, clock, signal }))) {
    if (signal.aborted) return;
    bytes += data.length;
    if (!call.write({ data })) await drained(call, signal);
  }
  const message = `sent a backup of the store (${bytes} bytes before encryption)`;
  events.record({ actor: actorOf(caller), reason: 'BackupCreated', message, details: { bytes } });
}

async function* together(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let size = 0;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += pieceBytes) {
      const part = piece.subarray(at, at + pieceBytes);
      waiting.push(part);
      size += part.length;
      if (size < pieceBytes) continue;
      yield Buffer.concat(waiting);
      [waiting, size] = [[], 0];
    }
  }
  if (size > 0) yield Buffer.concat(waiting);
}
