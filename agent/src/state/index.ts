export { CounterStore, type Counters } from './counters.ts';
export { createStateFolder, type StateFolder } from './folder.ts';
export { KeyedLock } from './keyed-lock.ts';
