import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Controllers, FencedStore } from './types.ts';

/** Something that runs at the leader alone. */
export interface RunningController {
  /** Returns when it is at work; what it waits for otherwise, it waits for in the background. */
  start(): Promise<void> | void;
  /** Resolves when nothing of it is at work any more. Called once, after a `start` that succeeded. */
  stop(): Promise<void>;
}

/** Makes one for an election; nothing is left of an earlier one. */
export interface NamedController {
  name: string;
  make(fenced: FencedStore): RunningController;
}

/** Starts them in their order, and stops them in the opposite one; where one cannot start, those before it are stopped. */
export class ControllerList implements Controllers {
  readonly #controllers: readonly NamedController[];
  readonly #logger: Logger;
  readonly #running: { name: string; controller: RunningController }[] = [];

  constructor(controllers: readonly NamedController[], logger: Logger) {
    this.#controllers = controllers;
    this.#logger = logger;
  }

  async start(fenced: FencedStore): Promise<void> {
    try {
      for (const { name, make } of this.#controllers) {
        const controller = make(fenced);
        await controller.start();
        this.#running.push({ name, controller });
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    for (const { name, controller } of this.#running.splice(0).reverse()) {
      try {
        await controller.stop();
      } catch (error) {
        this.#logger.warn('a controller did not stop as it should', { controller: name, error: describeError(error) });
      }
    }
  }
}
