import { type CertificateView, isBadPhase, type NodeView } from '../cluster/status.ts';
import { type Colour, clip, fit, type Paint } from './ansi.ts';
import { lifeBar, lifeBlock } from './bar.ts';
import { clockText, coordinatorsText, etcdText, kubernetesText, statusText, timeOfDay, type ViewModel } from './model.ts';

export interface Screen {
  columns: number;
  rows: number;
  paint: Paint;
}

type Layout = (node: NodeView, model: ViewModel, screen: Screen) => string[];

const maxNotices = 4;

/**
 * The picture as lines, none wider or more than the screen. The first way to show certificates that fits is taken: a line for each, then several in a line,
 * then one character for each.
 */
export function renderTable(model: ViewModel, screen: Screen): string[] {
  const head = header(model, screen.paint);
  const room = screen.rows - head.length;
  const bodies = [onePerLine, severalPerLine, oneCharacterEach].map((layout) => model.nodes.flatMap((node) => layout(node, model, screen)));
  const body = bodies.find((lines) => lines.length <= room) ?? bodies.at(-1) ?? [];
  const foot = notices(model, screen.paint).slice(-Math.max(0, Math.min(maxNotices, room - body.length)));
  const shown = room >= body.length ? [...head, ...body, ...(room > body.length ? foot : [])] : [...head, ...body].slice(0, screen.rows);
  return shown.map((line) => clip(line, screen.columns));
}

function header(model: ViewModel, paint: Paint): string[] {
  const { totals, writer, load, etcd, kubernetes } = model;
  const bad =
    totals.lapses > totals.lapsesOfRemoved ||
    (writer?.writesFailed ?? 0) > 0 ||
    etcd === 'failed' ||
    (load?.failed ?? 0) > 0 ||
    kubernetes === 'failed';
  const well: Colour = bad ? 'red' : totals.ready === totals.nodes ? 'green' : 'yellow';
  return [
    `${paint('bold', `Evercert ${clockText(model.elapsedMs)}`)}  cluster ${model.clusterName}  ${paint('dim', model.runDir)}`,
    `${paint(well, '●')} ${statusText(model)}`,
    `  ${etcdText(model)}${kubernetesText(model)}`,
    ...coordinatorLines(model, paint),
  ];
}

function coordinatorLines(model: ViewModel, paint: Paint): string[] {
  if (model.coordinators.length === 0) return [];
  const whole = model.coordinators.every(({ serves }) => serves) && model.coordinators.some(({ leads }) => leads);
  return [`${paint(whole ? 'green' : 'yellow', '●')} ${coordinatorsText(model)}`];
}

function nodeLine(node: NodeView, paint: Paint): string {
  const sum = (of: (certificate: CertificateView) => number): number =>
    node.certificates.reduce((total, certificate) => total + of(certificate), 0);
  const colour: Colour = node.phase === 'Ready' ? 'green' : isBadPhase(node.phase) ? 'red' : 'yellow';
  const failures = sum((certificate) => certificate.failures);
  const counts = `${sum((certificate) => certificate.renewals)} renewals, ${failures} failures`;
  const why = node.phase === 'Ready' ? '' : node.message;
  return `${paint('bold', fit(node.name, 10))} ${fit(node.role, 13)} ${paint(colour, fit(node.phase, 14))} ${paint(failures > 0 ? 'yellow' : 'dim', counts)} ${why}`.trimEnd();
}

const onePerLine: Layout = (node, model, { columns, paint }) => {
  const barWidth = Math.max(10, Math.min(40, columns - 62));
  const lines = node.certificates.map((certificate) => {
    const left = certificate.endMs === undefined ? '' : `${Math.max(0, Math.ceil((certificate.endMs - model.nowMs) / 1000))} s left`;
    const bar = lifeBar(certificate, model.nowMs, barWidth, paint);
    const problem = certificate.state === 'Ready' ? '' : paint('yellow', `${certificate.state} ${certificate.lastError}`);
    return `  ${fit(certificate.name, 25)} ${bar} ${fit(left, 12)} ${fit(`${certificate.renewals} renewals`, 14)} ${problem}`.trimEnd();
  });
  return [nodeLine(node, paint), ...lines];
};

const cellBar = 8;
const cellName = 16;
const cellWidth = cellName + 1 + cellBar + 1;

const severalPerLine: Layout = (node, model, { columns, paint }) => {
  const perLine = Math.max(1, Math.floor((columns - 1) / cellWidth));
  const cells = node.certificates.map(
    (certificate) => `${fit(shortName(certificate.name), cellName)} ${lifeBar(certificate, model.nowMs, cellBar, paint)}`,
  );
  const lines = Array.from(
    { length: Math.ceil(cells.length / perLine) },
    (_, row) => ` ${cells.slice(row * perLine, (row + 1) * perLine).join(' ')}`,
  );
  return [nodeLine(node, paint), ...lines];
};

const oneCharacterEach: Layout = (node, model, { paint }) => {
  const blocks = node.certificates.map((certificate) => lifeBlock(certificate, model.nowMs, paint)).join('');
  return [`${nodeLine(node, paint)}  ${blocks}`];
};

/** The certificate table's names, shortened so that they still differ in sixteen columns. */
function shortName(name: string): string {
  return name
    .replace('apiserver-kubelet-client', 'apisrv→kubelet')
    .replace('apiserver-etcd-client', 'apisrv→etcd')
    .replace('etcd-healthcheck-client', 'etcd-healthcheck')
    .replace('controller-manager', 'controller-mgr')
    .replace('front-proxy-client', 'front-proxy');
}

function notices(model: ViewModel, paint: Paint): string[] {
  return model.notices.map(({ timeMs, level, message }) => paint(level === 'warn' ? 'yellow' : 'dim', `${timeOfDay(timeMs)} ${message}`));
}
