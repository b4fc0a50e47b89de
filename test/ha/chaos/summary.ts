import type { Part } from './cpu.ts';
import type { Elections } from './elections.ts';
import type { Kill, Killer } from './killer.ts';
import type { Statistics } from './messages.ts';
import type { ChaosOptions } from './run.ts';

export interface ChaosSummary {
  agents: number;
  minutes: number;
  seed: number;
  leafSeconds: number;
  seconds: number;
  kills: number;
  coordinatorKills: number;
  memberKills: number;
  /** Of the coordinator that led. */
  leaderKills: number;
  /** From such a kill to the next election, seconds. */
  electionSeconds: { p50: number | null; max: number | null };
  /** From a kill to serving again, seconds. */
  backSeconds: { p50: number | null; max: number | null };
  /** From the loss of a connection to the next one, for all agents, milliseconds. */
  reconnectMs: { count: number; p50: number | null; p99: number | null; max: number | null };
  /** Changes of coordinator with the old connection still up. */
  moves: number;
  connections: number;
  failedCalls: number;
  failuresByCode: Record<string, number>;
  switchedOff: number;
  readyAtEnd: number;
  runningAtEnd: number;
  agentMiB: number;
  /** CPU seconds in each second of the run. */
  cpu: Record<Part, number>;
  /** What the judge says. */
  verdict: Record<string, unknown>;
  problems: string[];
}

export interface SummaryInput {
  options: ChaosOptions;
  before: Statistics;
  after: Statistics;
  killer: Killer;
  elections: Elections;
  cpu: Record<Part, number>;
  switchedOff: readonly string[];
  seconds: number;
  verdict: Record<string, unknown>;
}

export function summarize({ options, before, after, killer, elections, cpu, switchedOff, seconds, verdict }: SummaryInput): ChaosSummary {
  const { kills, troubles } = killer;
  const coordinatorKills = kills.filter(({ what }) => what.startsWith('coordinator'));
  const leaderKills = coordinatorKills.filter(({ led }) => led);
  const reconnectMs = after.reconnectMs.map(Math.round);
  const share = (used: number): number => Math.round((used / seconds) * 100) / 100;
  const faults = Number(verdict['faultCount']);
  return {
    agents: options.agents,
    minutes: options.minutes,
    seed: options.seed,
    leafSeconds: options.leafSeconds,
    seconds: Math.round(seconds),
    kills: kills.length,
    coordinatorKills: coordinatorKills.length,
    memberKills: kills.length - coordinatorKills.length,
    leaderKills: leaderKills.length,
    electionSeconds: spread(leaderKills.flatMap(({ atMs }) => inSeconds(elections.after(atMs)))),
    backSeconds: spread(kills.flatMap(({ backAfterMs }: Kill) => inSeconds(backAfterMs))),
    reconnectMs: { count: reconnectMs.length, ...spread(reconnectMs), p99: part(reconnectMs, 0.99) },
    moves: after.moves - before.moves,
    connections: after.connections - before.connections,
    failedCalls: after.failedCalls - before.failedCalls,
    failuresByCode: after.failuresByCode,
    switchedOff: switchedOff.length,
    readyAtEnd: after.ready,
    runningAtEnd: after.running,
    agentMiB: Math.round((after.residentBytes / after.running / 2 ** 20) * 10) / 10,
    cpu: { coordinators: share(cpu.coordinators), etcd: share(cpu.etcd), agents: share(cpu.agents) },
    verdict,
    problems: [
      ...troubles,
      ...(faults > 0 ? [`the judge has found ${faults} faults`] : []),
      ...(after.ready < after.running ? [`${after.running - after.ready} of ${after.running} agents are not ready at the end`] : []),
      ...(kills.length === 0 ? ['nothing was killed'] : []),
    ],
  };
}

function inSeconds(ms: number | undefined): number[] {
  return ms === undefined ? [] : [Math.round(ms / 100) / 10];
}

function spread(values: readonly number[]): { p50: number | null; max: number | null } {
  return { p50: part(values, 0.5), max: part(values, 1) };
}

/** The value below which this part of them lies. */
function part(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? null;
}
