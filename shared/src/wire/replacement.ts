/** The replacement policy as the protocol tells it. */
import type { ReplacementPolicy as ProtoPolicy, MaintenanceWindow as ProtoWindow } from '@evercert/proto';
import { EvercertError } from '../errors/index.ts';
import {
  defaultReplacementPolicy,
  formatTimeOfDay,
  type MaintenanceWindow,
  maxUnhealthyExample,
  parseDocuments,
  parseMaxUnhealthy,
  parseTimeOfDay,
  type ReplacementPolicy,
  replacementLimits,
  replacementModes,
  toYaml,
  weekdays,
} from '../manifest/index.ts';

export function replacementPolicyToProto(policy: ReplacementPolicy): ProtoPolicy {
  return { ...policy, maintenanceWindows: policy.maintenanceWindows.map(windowToProto) };
}

function windowToProto({ name, time, selector }: MaintenanceWindow): ProtoWindow {
  const once = time.type === 'once';
  return {
    name,
    from: once ? new Date(time.fromMs) : undefined,
    until: once ? new Date(time.untilMs) : undefined,
    days: once ? [] : time.days,
    start: once ? '' : formatTimeOfDay(time.startMinutes),
    durationSeconds: once ? 0 : time.durationSeconds,
    nodes: selector.nodes ?? [],
    labels: selector.labels ?? {},
  };
}

/** Zero values stand for defaults. InvalidArgument names the field. */
export function replacementPolicyFromProto(given: ProtoPolicy | undefined): ReplacementPolicy {
  const d = defaultReplacementPolicy;
  if (!given) return d;
  const number = (field: NumberField): number => {
    if (given[field] === 0) return d[field];
    const { min, max } = replacementLimits[field];
    if (given[field] < min || given[field] > max) throw fault(field, `expected ${min} to ${max}, not ${given[field]}`);
    return given[field];
  };
  const policy: ReplacementPolicy = {
    provisioner: given.provisioner,
    mode: oneOf(replacementModes, 'replacement.mode', given.mode, d.mode),
    graceSeconds: number('graceSeconds'),
    maxUnhealthy: given.maxUnhealthy || d.maxUnhealthy,
    maxConcurrent: number('maxConcurrent'),
    maxPerHour: number('maxPerHour'),
    drainTimeoutSeconds: number('drainTimeoutSeconds'),
    joinTimeoutSeconds: number('joinTimeoutSeconds'),
    backoffSeconds: number('backoffSeconds'),
    maxBackoffSeconds: number('maxBackoffSeconds'),
    maintenanceWindows: given.maintenanceWindows.slice(0, replacementLimits.windows + 1).map(windowFromProto),
  };
  if (!parseMaxUnhealthy(policy.maxUnhealthy)) throw fault('maxUnhealthy', `expected ${maxUnhealthyExample}`);
  return checkedAsDocument(policy);
}

type NumberField = { [K in keyof ReplacementPolicy]: ReplacementPolicy[K] extends number ? K : never }[keyof ReplacementPolicy];

function windowFromProto(
  { name, from, until, days, start, durationSeconds, nodes, labels }: ProtoWindow,
  index: number,
): MaintenanceWindow {
  const field = `maintenance_windows[${index}]`;
  const selector = { ...(nodes.length > 0 && { nodes }), ...(Object.keys(labels).length > 0 && { labels }) };
  if (from && until && start === '' && durationSeconds === 0 && days.length === 0) {
    for (const time of [from, until]) if (Number.isNaN(time.getTime())) throw fault(field, 'expected times before the year 10000');
    return { name, time: { type: 'once', fromMs: from.getTime(), untilMs: until.getTime() }, selector };
  }
  const startMinutes = parseTimeOfDay(start);
  if (startMinutes === undefined || from || until) {
    throw fault(field, 'expected either from and until, or start as "HH:MM" with duration_seconds');
  }
  const known = days.map((day) => oneOf(weekdays, `replacement.${field}.days`, day, 'Mon'));
  return { name, time: { type: 'recurring', days: known, startMinutes, durationSeconds }, selector };
}

/** The document's own checks hold for a request too: what a request could say and a document could not, could never be edited and applied again. */
function checkedAsDocument(policy: ReplacementPolicy): ReplacementPolicy {
  const text = toYaml({ kind: 'Cluster', metadata: { name: 'checked' }, spec: { replacement: policy } });
  const [first] = parseDocuments(text, { file: 'request' }).faults;
  if (first) throw fault(protoField(first.field.replace('spec.replacement.', '')), first.message);
  return policy;
}

/** The protocol's name of what a document calls by a shorter one. */
function protoField(field: string): string {
  return field.replace(/(grace|Timeout|[bB]ackoff|duration)$/, '$1Seconds');
}

function fault(field: string, message: string): EvercertError {
  const snake = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return new EvercertError('InvalidArgument', `replacement.${snake}: ${message}`);
}

/** InvalidArgument: it is none of the known words. */
export function oneOf<T extends string>(known: readonly T[], field: string, given: string, fallback: T): T {
  const found = given === '' ? fallback : known.find((candidate) => candidate === given);
  if (found === undefined)
    throw new EvercertError('InvalidArgument', `${field}: expected one of ${known.join(', ')}, not "${given.slice(0, 40)}"`);
  return found;
}
