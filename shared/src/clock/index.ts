export { FakeClock } from './fake.ts';
export { type Clock, systemClock, type Timer } from './system.ts';
