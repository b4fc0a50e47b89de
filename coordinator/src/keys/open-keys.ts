/** Keys that are open, or being opened or made: whoever asks at the same time waits for the same one. */
export class OpenKeys<T> {
  readonly #open = new Map<string, Promise<T>>();

  has(id: string): boolean {
    return this.#open.has(id);
  }

  /** The key that is open, or is opened by `load`. */
  get(id: string, load: () => Promise<T>): Promise<T> {
    return this.#open.get(id) ?? this.remember(id, load());
  }

  /** Keeps the key for later callers; a failure is not kept. */
  async remember(id: string, opening: Promise<T>): Promise<T> {
    this.#open.set(id, opening);
    try {
      return await opening;
    } catch (error) {
      if (this.#open.get(id) === opening) this.#open.delete(id);
      throw error;
    }
  }

  /** @param opening only if this is what is open. */
  forget(id: string, opening?: Promise<T>): void {
    if (opening === undefined || this.#open.get(id) === opening) this.#open.delete(id);
  }

  /** What is open, or on its way. */
  peek(id: string): Promise<T> | undefined {
    return this.#open.get(id);
  }

  /** Forgets a key, but not under the hands of one who makes or opens it. Returns what was open; whether opening worked does not matter here. */
  async forgetSettled(id: string): Promise<T | undefined> {
    const opened = await this.#open.get(id)?.catch(() => undefined);
    this.#open.delete(id);
    return opened;
  }

  clear(): void {
    this.#open.clear();
  }
}
