import type { Clock, Timer } from '@evercert/shared/clock';
import type { Notice } from '../supervisor/events.ts';
import { ansi, withColour, withoutColour } from './ansi.ts';
import { clockText, plainLine, type ViewModel } from './model.ts';
import { renderTable } from './table.ts';

/** What shows a run while it goes on. */
export interface View {
  notice(notice: Notice): void;
  /** Ends the showing; whatever was changed about the terminal is as before. Idempotent. */
  end(): void;
}

/** Undefined while there is nothing to show yet. */
export type ModelSource = () => ViewModel | undefined;

/** The part of a terminal's stream that is used. */
export type Terminal = Pick<NodeJS.WriteStream, 'write' | 'columns' | 'rows' | 'on' | 'off'>;

const redrawMs = 500;
const plainMs = 5000;

/** Redraws a table twice a second on the alternate screen, so that the terminal's own content comes back at the end, followed by the last picture. */
export class LiveView implements View {
  readonly #terminal: Terminal;
  readonly #model: ModelSource;
  readonly #clock: Clock;
  readonly #paint: typeof withColour;
  #timer: Timer | undefined;
  #ended = false;

  constructor(terminal: Terminal, clock: Clock, model: ModelSource, colour: boolean) {
    this.#terminal = terminal;
    this.#clock = clock;
    this.#model = model;
    this.#paint = colour ? withColour : withoutColour;
    terminal.write(ansi.enter);
    terminal.on('resize', this.#draw);
    process.on('exit', this.#restore);
    this.#tick();
  }

  notice(): void {
    this.#draw();
  }

  end(): void {
    if (this.#ended) return;
    this.#timer?.cancel();
    this.#terminal.off('resize', this.#draw);
    process.off('exit', this.#restore);
    this.#restore();
    this.#terminal.write(
      this.#lines()
        .map((line) => `${line}\n`)
        .join(''),
    );
  }

  #tick(): void {
    this.#draw();
    this.#timer = this.#clock.after(redrawMs, () => this.#tick());
  }

  readonly #draw = (): void => {
    if (this.#ended) return;
    // The last line ends without a line feed, which would scroll the screen.
    const picture = this.#lines()
      .map((line) => line + ansi.clearLine)
      .join('\r\n');
    this.#terminal.write(ansi.home + picture + ansi.clearBelow);
  };

  readonly #restore = (): void => {
    if (!this.#ended) this.#terminal.write(ansi.leave);
    this.#ended = true;
  };

  #lines(): string[] {
    const model = this.#model();
    const { columns = 80, rows = 24 } = this.#terminal;
    return model
      ? renderTable(model, { columns: Math.max(columns, 20), rows: Math.max(rows, 5), paint: this.#paint })
      : ['Evercert is starting…'];
  }
}

/** A line about every five seconds and one for every notice, for logs and pipes. */
export class PlainView implements View {
  readonly #write: (line: string) => void;
  readonly #clock: Clock;
  readonly #model: ModelSource;
  readonly #begunMs: number;
  #timer: Timer | undefined;

  constructor(write: (line: string) => void, clock: Clock, model: ModelSource) {
    this.#write = write;
    this.#clock = clock;
    this.#model = model;
    this.#begunMs = clock.monotonicMs();
    this.#schedule();
  }

  notice({ level, message }: Notice): void {
    this.#write(`[${clockText(this.#clock.monotonicMs() - this.#begunMs)}] ${level === 'warn' ? 'warning: ' : ''}${message}`);
  }

  end(): void {
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#clock.after(plainMs, () => {
      const model = this.#model();
      if (model) this.#write(plainLine(model));
      this.#schedule();
    });
  }
}
