export { FakeClock } from './fake.ts';
export { type Clock, sleepOn, systemClock, type Timer } from './system.ts';
