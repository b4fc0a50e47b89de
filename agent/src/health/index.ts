export { type ComponentSnapshot, type DesiredHealthCheck, HealthChecker, type HealthCheckerOptions } from './checker.ts';
export { createProbe, judge, type Probe, type ProbeAnswer, type ProbeQuestion } from './probe.ts';
