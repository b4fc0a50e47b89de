/** Endpoints that coordinators have named, on disk: an agent that starts while those of its configuration are away finds the others. */
import type { Clock } from '@evercert/shared/clock';
import { hostPort } from '@evercert/shared/config';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import * as z from 'zod';
import type { StateFolder } from '../state/folder.ts';

export interface EndpointMemoryOptions {
  folder: Pick<StateFolder, 'read' | 'write'>;
  clock: Clock;
  logger: Logger;
}

const fileName = 'endpoints.json';
const most = 16;
/** A coordinator that none has named for so long is gone for good. */
const forgetMs = 7 * 86_400_000;
/** The file is written again for a newer time alone no more often than this. */
const refreshMs = 3_600_000;

const endpoint = hostPort();
const schema = z.object({ version: z.literal(1), endpoints: z.array(z.object({ endpoint: z.string(), namedAtMs: z.number() })) });

export class EndpointMemory {
  readonly #options: EndpointMemoryOptions;
  /** When each was named last, the newest first. */
  #named = new Map<string, number>();
  #written = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: EndpointMemoryOptions) {
    this.#options = options;
  }

  get endpoints(): string[] {
    return [...this.#named.keys()];
  }

  /** A damaged file costs what was learned, never the start. Errors: FileSystem. */
  async load(): Promise<void> {
    const content = await this.#options.folder.read(fileName);
    if (content === undefined) return;
    try {
      const { endpoints } = schema.parse(JSON.parse(content.toString()));
      const valid = endpoints.filter((each) => usable(each.endpoint) === each.endpoint);
      this.#named = new Map(valid.slice(0, most).map((each) => [each.endpoint, each.namedAtMs]));
      this.#written = this.#named;
    } catch (error) {
      this.#options.logger.warn('The learned endpoints of earlier runs are damaged; those of the configuration are used', {
        error: toEvercertError(error).message,
      });
    }
  }

  /** Takes in what a coordinator has named; the older ones are kept as far as there is room. */
  learn(named: readonly string[]): void {
    const { clock, logger } = this.#options;
    const nowMs = clock.nowMs();
    const valid = new Set(named.slice(0, most).flatMap((text) => usable(text) ?? []));
    if (valid.size < Math.min(named.length, most)) {
      logger.warn('The coordinator names endpoints that are none; they are not used', {
        named: named.slice(0, most).join(' ').slice(0, 512),
      });
    }
    const before = [...this.#named].filter(([text, atMs]) => !valid.has(text) && nowMs - atMs < forgetMs);
    this.#named = new Map([...[...valid].map((text): [string, number] => [text, nowMs]), ...before].slice(0, most));
    if (this.#worthWriting()) this.#write();
  }

  flush(): Promise<void> {
    return this.#writing;
  }

  #worthWriting(): boolean {
    if (this.#named.size !== this.#written.size) return true;
    return [...this.#named].some(([text, atMs]) => Math.abs(atMs - (this.#written.get(text) ?? Number.NEGATIVE_INFINITY)) > refreshMs);
  }

  #write(): void {
    const named = this.#named;
    this.#written = named;
    const endpoints = [...named].map(([text, namedAtMs]) => ({ endpoint: text, namedAtMs }));
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#options.folder.write(fileName, JSON.stringify({ version: 1, endpoints }));
      } catch (caught) {
        const error = toEvercertError(caught);
        // The next time that one is named, it is written again.
        this.#written = new Map();
        this.#options.logger.warn('The learned endpoints could not be saved; they are kept in memory', {
          code: error.code,
          error: error.message,
        });
      }
    });
  }
}

/** Canonical; undefined for what can be nobody's address. */
function usable(text: string): string | undefined {
  const parsed = endpoint.safeDecode(text);
  return parsed.success && !/^(?:0\.0\.0\.0|\[::\]):/.test(parsed.data) ? parsed.data : undefined;
}
