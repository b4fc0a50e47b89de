import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';

/** What every driver is given. */
export interface DriverDeps {
  clock: Clock;
  logger: Logger;
  /** Folder of this driver alone; it need not exist yet. */
  stateDir: string;
}
