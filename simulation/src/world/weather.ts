/** How often each kind of fault happens, on average, in a cluster of 50 nodes in 30 days. */
export interface Weather {
  nodeDies: number;
  agentStuck: number;
  nodeCut: number;
  rackCut: number;
  siteCut: number;
  /** One certificate that cannot be renewed. */
  partial: number;
  revocation: number;
  nodeClock: number;
  /** Comes back within minutes of the moment at which it would be replaced. */
  lastMoment: number;
  coordinatorDown: number;
  coordinatorClock: number;
  storeFails: number;
  provisionerBroken: number;
  cordon: number;
  pause: number;
  mode: number;
  repairWindow: number;
}

export const usualWeather: Weather = {
  nodeDies: 2,
  agentStuck: 3,
  nodeCut: 3,
  rackCut: 1,
  siteCut: 0.6,
  partial: 2,
  revocation: 1.5,
  nodeClock: 1,
  lastMoment: 2,
  coordinatorDown: 2,
  coordinatorClock: 0.4,
  storeFails: 0.8,
  provisionerBroken: 1,
  cordon: 2,
  pause: 0.7,
  mode: 0.3,
  repairWindow: 2,
};

export const calmWeather: Weather = Object.fromEntries(Object.keys(usualWeather).map((kind) => [kind, 0])) as unknown as Weather;
