/** By which public keys the control CA may be found: those of the configuration, as long as the CAs that they name are not replaced, and those that an administrator at the node gave since. */
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { publicKeyPin } from '@evercert/shared/x509';
import * as z from 'zod';
import type { StateFolder } from '../state/folder.ts';

export interface ControlPinsOptions {
  folder: StateFolder;
  logger: Logger;
  /** `coordinator.caPins` of the configuration. */
  configured: readonly string[];
}

const file = 'identity/ca-pins.json';
const maxPins = 64;
const pin = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const schema = z.object({ version: z.literal(1), given: z.array(pin).max(maxPins), retired: z.array(pin).max(maxPins) });

export class ControlPins {
  readonly #folder: StateFolder;
  readonly #logger: Logger;
  readonly #configured: readonly string[];
  /** By an administrator at the node. */
  #given: readonly string[] = [];
  /** Of control CAs that are replaced: whoever holds such a key must not be found by it again, although the configuration still names it. */
  #retired: readonly string[] = [];

  constructor({ folder, logger, configured }: ControlPinsOptions) {
    this.#folder = folder;
    this.#logger = logger;
    this.#configured = configured.map((each) => each.toLowerCase());
  }

  /** Errors: FileSystem. */
  async load(): Promise<void> {
    const content = await this.#folder.read(file);
    if (!content) return;
    try {
      const { given, retired } = schema.parse(JSON.parse(content.toString()));
      this.#given = given;
      this.#retired = retired;
    } catch (error) {
      this.#logger.error('The pins that were kept are damaged and count as absent', { code: toEvercertError(error).code });
    }
    const unused = this.#configured.filter((each) => this.#retired.includes(each));
    if (unused.length > 0) {
      this.#logger.warn(
        'Pins of the configuration name control CAs that were replaced, and are not used: put the present one in their place',
        {
          pins: unused.join(' '),
        },
      );
    }
  }

  /** Those that may find the coordinator now; what is trusted always may. */
  inEffect(trusted: readonly Buffer[]): string[] {
    const named = [...this.#given, ...this.#configured].filter((each) => !this.#retired.includes(each));
    return [...new Set([...named, ...trusted.map((der) => publicKeyPin(der))])];
  }

  /** The coordinator's word on which CAs are trusted: what falls out of them is found by its pin no more. Durable when it resolves. */
  replaced(before: readonly Buffer[], after: readonly Buffer[]): Promise<void> {
    return this.retire(
      before.map((der) => publicKeyPin(der)),
      after,
    );
  }

  /**
   * These find nobody from here on, but for those that stand for what is trusted. A configuration that was written before a rotation still names what it replaced. Durable when it
   * resolves.
   */
  async retire(pins: readonly string[], trusted: readonly Buffer[]): Promise<void> {
    const held = new Set(trusted.map((der) => publicKeyPin(der)));
    const known = new Set(this.#retired);
    const fresh = pins.map((each) => each.toLowerCase()).filter((each) => pin.safeParse(each).success && !known.has(each));
    const retired = [...new Set([...fresh, ...this.#retired])].filter((each) => !held.has(each));
    if (retired.join() !== this.#retired.join()) await this.#save(this.#given, retired);
  }

  /** An administrator's word: these and no others. Durable when it resolves. */
  async give(pins: readonly string[], trusted: readonly Buffer[]): Promise<void> {
    const given = pins.map((each) => each.toLowerCase());
    const others = [...this.#configured, ...this.#given, ...trusted.map((der) => publicKeyPin(der)), ...this.#retired];
    await this.#save(
      given,
      [...new Set(others)].filter((each) => !given.includes(each)),
    );
  }

  async #save(given: readonly string[], retired: readonly string[]): Promise<void> {
    const content = { version: 1, given: given.slice(0, maxPins), retired: retired.slice(0, maxPins) } as const;
    await this.#folder.write(file, JSON.stringify(content, null, 2));
    this.#given = content.given;
    this.#retired = content.retired;
  }
}
