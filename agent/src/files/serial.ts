/** Runs what concerns one name one after the other, in the order of the calls; different names do not wait for each other. */
export class SerialByName {
  readonly #tails = new Map<string, Promise<void>>();

  run<T>(name: string, action: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(name) ?? Promise.resolve()).then(action);
    // The next in line starts whatever became of this one; its own caller sees the failure.
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(name, tail);
    void tail.then(() => {
      if (this.#tails.get(name) === tail) this.#tails.delete(name);
    });
    return result;
  }
}
