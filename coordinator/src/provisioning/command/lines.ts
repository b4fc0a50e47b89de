import type { Logger } from '@evercert/shared/logging';
import { visibleLine } from '@evercert/shared/text';

const maxLines = 200;
const maxLineBytes = 8 * 1024;
const maxShown = 1024;

/** Puts a program's standard error into the log, line by line: so many lines of such a length, and without secrets. */
export class LineLog {
  readonly #logger: Logger;
  readonly #redact: (text: string) => string;
  #pending: Buffer = Buffer.alloc(0);
  #lines = 0;
  #last = '';

  constructor(logger: Logger, redact: (text: string) => string) {
    this.#logger = logger;
    this.#redact = redact;
  }

  /** The last line that was not empty, for an error message; redacted. */
  get last(): string {
    return this.#last;
  }

  write(chunk: Buffer): void {
    let rest = chunk;
    for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
      this.#add(rest.subarray(0, at));
      this.#finish();
      rest = rest.subarray(at + 1);
    }
    this.#add(rest);
  }

  /** The last line may lack its end. */
  end(): void {
    this.#finish();
  }

  #add(part: Buffer): void {
    const room = maxLineBytes - this.#pending.length;
    if (room > 0 && part.length > 0) this.#pending = Buffer.concat([this.#pending, part.subarray(0, room)]);
  }

  #finish(): void {
    const line = visibleLine(this.#redact(this.#pending.toString()).trimEnd()).slice(0, maxShown);
    this.#pending = Buffer.alloc(0);
    if (line === '') return;
    this.#last = line;
    this.#lines += 1;
    if (this.#lines <= maxLines) this.#logger.info('provisioner says', { line });
    else if (this.#lines === maxLines + 1) this.#logger.warn('the provisioner says more than is logged', { lines: maxLines });
  }
}
