/** Judges a history. Pure; knows nothing of how coordinators and agents are made. */
import type { Entry, Fault, FaultKind, History, Machine, Seen, Verdict } from './types.ts';

/** A machine that was stopped may have lost the answer to what it had asked for so long before; hardly ever more than one in ten had asked just then. */
const underWayMs = 30_000;
const mostUnderWay = 0.1;
/** Clocks are one here, but a file is seen a little later than it was written. */
const lateMs = 5000;

export function checkHistory(history: History): Verdict {
  const { machines, entries, actions } = history;
  const issued = entries.filter(({ reason }) => reason === 'CertificateIssued');
  const seen = machines.flatMap((machine) => machine.seen);
  const faults = [
    ...emptiness(history, issued),
    ...brokenLog(entries),
    ...lapses(machines),
    ...twice('SerialTwice', 'serial number', issued, ({ serial }) => serial, describeEntry),
    ...serialsOfOtherKeys(seen),
    ...twice('RenewalTwice', 'public key', issued, ({ publicKey }) => publicKey, describeEntry),
    ...twice(
      'RenewalTwice',
      'public key in the store',
      history.stored,
      ({ publicKey }) => publicKey,
      ({ key }) => key,
    ),
    ...steps(history),
    ...needlessRemovals(history),
    ...folderAgainstLog(seen, issued),
    ...logAgainstFolder(machines, issued),
    ...storeAgainstLog(history, issued),
    ...machines.flatMap(({ id, damage }) => damage.map((text) => fault('Damaged', `${id}: ${text}`))),
  ];
  return {
    machines: machines.length,
    certificates: new Set(seen.map(({ serial }) => serial)).size,
    renewals: renewals(machines),
    issued: issued.length,
    underWay: lostAnswers(machines, issued).underWay.length,
    replacements: entries.filter(({ reason }) => reason === 'ReplacementSucceeded').length,
    actions: actions.filter(({ kind }) => kind === 'effect').length,
    entries: entries.length,
    faults,
  };
}

function fault(kind: FaultKind, text: string): Fault {
  return { kind, text };
}

function describeEntry({ sequence, node, certificate, serial }: Entry): string {
  return `entry ${sequence} (${node}/${certificate}, ${serial})`;
}

/** Certificates that took the place of another in their file. */
function renewals(machines: readonly Machine[]): number {
  return machines.reduce((sum, { seen }) => sum + seen.length - new Set(seen.map(({ file }) => file)).size, 0);
}

/** A history in which nothing happened proves nothing. */
function emptiness({ machines, entries }: History, issued: readonly Entry[]): Fault[] {
  const wanted: [boolean, string][] = [
    [machines.some(({ seen }) => seen.length > 0), 'no certificate was seen on any machine'],
    [renewals(machines) > 0, 'no certificate was renewed'],
    [entries.length > 0, 'the audit log is empty'],
    [issued.length > 0, 'the audit log knows of no certificate'],
  ];
  return wanted.filter(([there]) => !there).map(([, text]) => fault('Empty', text));
}

function brokenLog(entries: readonly Entry[]): Fault[] {
  const faults: Fault[] = [];
  for (const [index, entry] of entries.entries()) {
    if (entry.sequence !== index + 1) {
      faults.push(fault('LogBroken', `the audit log has entry ${entry.sequence} in place ${index + 1}`));
      break;
    }
    if (!entry.linked) faults.push(fault('LogBroken', `the hash of entry ${entry.sequence} does not follow from what is before it`));
  }
  return faults;
}

/** A certificate in its place past its end, or one that was followed too late. */
function lapses(machines: readonly Machine[]): Fault[] {
  return machines.flatMap((machine) => {
    const counted = machine.lapses > 0 ? [fault('Lapsed', `${machine.id} counted ${machine.lapses} certificates that ran out in use`)] : [];
    const looked = [...Map.groupBy(machine.seen, ({ file }) => file).values()].flatMap((versions) => versions.flatMap(lapseOf));
    return [...counted, ...looked];
  });
}

function lapseOf(version: Seen, index: number, all: readonly Seen[]): Fault[] {
  const { machine, file, serial, notAfterMs, lastMs } = version;
  if (lastMs > notAfterMs) {
    return [fault('Lapsed', `${machine}: ${file} ${serial} was in its place ${Math.round((lastMs - notAfterMs) / 1000)} s past its end`)];
  }
  const next = all[index + 1];
  if (!next || next.firstMs - lateMs <= notAfterMs) return [];
  return [fault('Lapsed', `${machine}: ${file} ${serial} had ended before ${next.serial} took its place`)];
}

function twice<T>(kind: FaultKind, what: string, items: readonly T[], keyOf: (item: T) => string, describe: (item: T) => string): Fault[] {
  const groups = Map.groupBy(items, keyOf);
  return [...groups].flatMap(([key, group]) =>
    key !== '' && group.length > 1 ? [fault(kind, `${what} ${key} is in ${group.map(describe).join(' and ')}`)] : [],
  );
}

function serialsOfOtherKeys(seen: readonly Seen[]): Fault[] {
  return [...Map.groupBy(seen, ({ serial }) => serial)].flatMap(([serial, group]) =>
    new Set(group.map(({ publicKey }) => publicKey)).size > 1
      ? [
          fault(
            'SerialTwice',
            `serial number ${serial} was seen with several public keys on ${group.map(({ machine }) => machine).join(', ')}`,
          ),
        ]
      : [],
  );
}

/** What was done for replacements, by the provisioner's own record and by the audit log. */
function steps({ actions, entries }: History): Fault[] {
  const effects = actions.filter(({ kind }) => kind === 'effect');
  const faults = twice(
    'StepTwice',
    'idempotency key',
    effects,
    ({ key }) => key,
    ({ action, node }) => `${action} ${node}`,
  );
  for (const [node, ofNode] of Map.groupBy(effects, ({ node: name }) => name)) {
    // The machine that is there at the start was made by nobody.
    for (const [index, { action, key }] of ofNode.entries()) {
      const wanted = index % 2 === 0 ? 'remove' : 'create';
      if (action === wanted) continue;
      faults.push(fault('StepTwice', `${node}: ${action} (${key}) where ${wanted} was due: a step was done twice, or one was left out`));
      break;
    }
  }
  const calls = new Set(actions.filter(({ kind }) => kind === 'call').map(({ key }) => key));
  for (const { key, action, node } of effects)
    if (!calls.has(key)) faults.push(fault('StepTwice', `${action} ${node} (${key}) was done, and nobody had asked for it`));
  const done = entries.filter(({ reason }) => reason === 'ReplacementStepDone');
  return [...faults, ...twice('StepTwice', 'idempotency key', done, keyOfStep, describeEntry)];
}

/** `replacement rp-…: Remove is done (KEY)`. */
function keyOfStep({ message }: Entry): string {
  return /is done \(([^)]+)\)/.exec(message)?.[1] ?? '';
}

/** A machine that was removed while all of its certificates were good. */
function needlessRemovals({ machines, actions }: History): Fault[] {
  const byNode = Map.groupBy(machines, ({ node }) => node);
  return actions.flatMap(({ kind, action, node, key, atMs }) => {
    if (kind !== 'effect' || action !== 'remove') return [];
    const ended = (byNode.get(node) ?? []).filter(({ gone, endMs }) => gone && endMs <= atMs + lateMs);
    const removed = ended.sort((a, b) => b.endMs - a.endMs)[0];
    const last = removed && [...Map.groupBy(removed.seen, ({ file }) => file).values()].flatMap((versions) => versions.slice(-1));
    if (!removed || !last || last.length === 0 || last.some(({ notAfterMs }) => notAfterMs <= atMs)) return [];
    return [fault('NeedlessRemoval', `${removed.id} was removed (${key}) while all of its certificates were good`)];
  });
}

function folderAgainstLog(seen: readonly Seen[], issued: readonly Entry[]): Fault[] {
  const bySerial = new Map(issued.map((entry) => [entry.serial, entry]));
  return seen.flatMap(({ machine, node, file, serial, publicKey }) => {
    const entry = bySerial.get(serial);
    if (!entry) return [fault('NotInLog', `${machine}: ${file} ${serial} is not in the audit log`)];
    if (entry.node !== node || entry.publicKey !== publicKey)
      return [fault('NotInLog', `${machine}: ${file} ${serial} is ${entry.node}/${entry.certificate} with another key in the audit log`)];
    return [];
  });
}

/** Each certificate that was issued to a node is on one of its machines, but for the last ones of machines that were stopped in the middle of asking. */
function logAgainstFolder(machines: readonly Machine[], issued: readonly Entry[]): Fault[] {
  const lost = lostAnswers(machines, issued);
  const most = Math.max(3, machines.length * mostUnderWay);
  const faults = lost.nowhere.map((entry) => fault('NotInFolder', `${describeEntry(entry)} was issued and is on no machine of its node`));
  if (lost.underWay.length <= most) return faults;
  return [
    ...faults,
    fault('NotInFolder', `${lost.underWay.length} certificates were under way when machines were stopped: too many to be chance`),
  ];
}

function lostAnswers(machines: readonly Machine[], issued: readonly Entry[]): { underWay: Entry[]; nowhere: Entry[] } {
  const serials = new Set(machines.flatMap(({ seen }) => seen.map(({ serial }) => serial)));
  const byNode = Map.groupBy(machines, ({ node }) => node);
  const underWay: Entry[] = [];
  const nowhere: Entry[] = [];
  for (const entry of issued) {
    const ofNode = byNode.get(entry.node);
    // The coordinators' own certificates, and those of admins, are on no machine.
    if (!ofNode || serials.has(entry.serial)) continue;
    const stopped = ofNode.some(({ endMs }) => Math.abs(endMs - entry.timeMs) < underWayMs);
    (stopped ? underWay : nowhere).push(entry);
  }
  return { underWay, nowhere };
}

function storeAgainstLog({ stored }: History, issued: readonly Entry[]): Fault[] {
  const inStore = new Set(stored.map(({ serial }) => serial));
  const inLog = new Set(issued.map(({ serial }) => serial));
  return [
    ...issued.flatMap((entry) => (inStore.has(entry.serial) ? [] : [fault('NotInStore', `${describeEntry(entry)} is not in the store`)])),
    ...stored.flatMap(({ key, serial }) =>
      inLog.has(serial) ? [] : [fault('NotInLog', `${key} is in the store and not in the audit log`)],
    ),
  ];
}
