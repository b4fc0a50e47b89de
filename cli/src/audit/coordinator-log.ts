import { type AuditReport, type AuditSource, judgeLogs, parseLine, type VerifyOptions, verifyAuditLog } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import type { AdminApi } from '../client.ts';

/** The first entry that the coordinator has and the files do not. */
export interface NextEntry {
  sequence: number;
  timeMs: number;
}

const name = 'coordinator';

/** The log as the coordinator exports it. */
export class CoordinatorLog {
  readonly #api: AdminApi;

  constructor(api: AdminApi) {
    this.#api = api;
  }

  source(from: number): AuditSource {
    return { name, bytes: this.#bytes(from) };
  }

  /**
   * Judges files together with the coordinator's log from their last entry on: it shows that they are the same log, signs what was not signed yet when they were written, and tells what
   * comes after them. Errors: those of the call.
   */
  async compare(files: AuditReport, options: VerifyOptions): Promise<{ report: AuditReport; next: NextEntry | undefined }> {
    try {
      return await this.#compareFrom(Math.max(1, files.last), files, options);
    } catch (error) {
      if (!(error instanceof EvercertError && error.code === 'FailedPrecondition')) throw error;
      // It ends before the files do: all of it is compared.
      if (Number(error.metadata['newest'] ?? 0) < files.last) return this.#compareFrom(0, files, options);
      const note = `the coordinator does not keep entry ${files.last} any more: the files were not compared with its log`;
      return { report: { ...files, notes: [...files.notes, note] }, next: undefined };
    }
  }

  async #compareFrom(
    from: number,
    files: AuditReport,
    options: VerifyOptions,
  ): Promise<{ report: AuditReport; next: NextEntry | undefined }> {
    const next: NextEntry[] = [];
    const tapped: AuditSource = { name, bytes: this.#bytes(from, (text) => noteNext(text, files.last, next)) };
    const { logs } = await verifyAuditLog([tapped], { ...options, partial: true });
    return { report: judgeLogs([...files.logs, ...logs], options), next: next[0] };
  }

  async *#bytes(fromSequence: number, tap: (text: string) => void = () => {}): AsyncGenerator<Uint8Array> {
    for await (const { lines } of this.#api.stream('exportAudit', { fromSequence, follow: false })) {
      tap(Buffer.from(lines).toString());
      yield lines;
    }
  }
}

function noteNext(text: string, last: number, next: NextEntry[]): void {
  if (next.length > 0) return;
  for (const one of text.split('\n')) {
    const line = one === '' ? '' : parseLine(one);
    if (typeof line === 'string' || line.type !== 'entry' || line.sequence <= last) continue;
    next.push({ sequence: line.sequence, timeMs: Date.parse(line.event.time) });
    return;
  }
}
