import type { NodeProvisioner } from './types.ts';

/** The drivers that this coordinator was configured with, by the names that policies call them by. */
export interface Provisioners {
  get(name: string): NodeProvisioner | undefined;
  /** Sorted. */
  names(): string[];
  /** Closes every driver. Idempotent. */
  close(): Promise<void>;
}

/** A fixed set of drivers. */
export function provisionersOf(drivers: ReadonlyMap<string, NodeProvisioner>): Provisioners {
  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    await Promise.all([...drivers.values()].map((driver) => driver.close()));
  };
  return {
    get: (name) => drivers.get(name),
    names: () => [...drivers.keys()].sort(),
    close: () => {
      closing ??= closeAll();
      return closing;
    },
  };
}

/** Nobody can be replaced. */
export const noProvisioners: Provisioners = provisionersOf(new Map());
