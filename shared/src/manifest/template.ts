import { addressInRange, bracketed, canonicalAddress, didYouMean, formatHostPort, parseHostPort } from '../config/index.ts';
import type { ClusterFacts, NodeFacts } from './types.ts';

/** What templates can speak of. */
export interface TemplateContext {
  cluster: ClusterFacts;
  node: NodeFacts;
}

/** The port of an API server that names none. */
const apiServerPort = 6443;

const labelPrefix = 'node.labels.';

/** A variable with one value: the value, or why it has none. */
type Scalar = (context: TemplateContext) => string | { fault: string };

const scalars: Record<string, Scalar> = {
  'node.name': ({ node }) => node.name,
  'node.role': ({ node }) => node.role,
  'node.address': ({ node }) => node.addresses[0] ?? { fault: 'the node has no address; register one in its Node document' },
  'cluster.name': ({ cluster }) => cluster.name,
  'cluster.dnsDomain': ({ cluster }) => cluster.policy.dnsDomain,
  'cluster.serviceIP': ({ cluster }) => addressInRange(cluster.policy.serviceCidr, 1),
  'cluster.endpoint': clusterEndpoint,
};

const lists: Record<string, (context: TemplateContext) => string[]> = {
  'node.addresses': ({ node }) => node.addresses,
  'node.dnsNames': ({ node }) => node.dnsNames,
  'cluster.apiServerDnsNames': ({ cluster }) => apiServerNames(cluster).filter((name) => canonicalAddress(name) === undefined),
  'cluster.apiServerAddresses': ({ cluster }) => apiServerNames(cluster).filter((name) => canonicalAddress(name) !== undefined),
};

/** Every variable, for messages and documentation. */
export const templateVariables: readonly string[] = [...Object.keys(scalars), ...Object.keys(lists), `${labelPrefix}KEY`];

function clusterEndpoint({ cluster, node }: TemplateContext): string | { fault: string } {
  const endpoint = parseHostPort(cluster.policy.controlPlaneEndpoint);
  if (endpoint !== undefined) return formatHostPort(endpoint.host, endpoint.port ?? apiServerPort);
  const address = node.addresses[0];
  if (address !== undefined) return formatHostPort(address, apiServerPort);
  return {
    fault: "the cluster has no controlPlaneEndpoint and the node no address; set the one in the Cluster's spec or register the other",
  };
}

function apiServerNames({ policy }: ClusterFacts): string[] {
  const host = parseHostPort(policy.controlPlaneEndpoint)?.host;
  return [...(host === undefined ? [] : [host]), ...policy.apiServerExtraSans];
}

export interface RenderOptions {
  /** Inside a URL: IPv6 addresses are put in brackets. */
  url?: boolean;
}

type Piece = { text: string } | { variable: string };

/** Splits a text at its `{{ variable }}`s, or says why it cannot. */
function split(template: string): Piece[] | { fault: string } {
  const parts = template.split(/\{\{\s*([^{}]*?)\s*\}\}/);
  const broken = parts.some((part, index) => index % 2 === 0 && /\{\{|\}\}/.test(part));
  if (broken) return { fault: 'a template is not closed or opened; expected "{{ variable }}"' };
  return parts
    .map((part, index) => (index % 2 === 0 ? { text: part } : { variable: part }))
    .filter((piece) => 'variable' in piece || piece.text !== '');
}

/** The text with its variables put in. A variable that is unknown, has no value or is a list is a fault. */
export function renderText(template: string, context: TemplateContext, options: RenderOptions = {}): { text: string } | { fault: string } {
  if (!template.includes('{{') && !template.includes('}}')) return { text: template };
  const pieces = split(template);
  if ('fault' in pieces) return pieces;
  let text = '';
  for (const piece of pieces) {
    const value = 'text' in piece ? piece.text : variableValue(piece.variable, context);
    if (typeof value !== 'string') return value;
    text += 'variable' in piece && options.url === true && canonicalAddress(value) !== undefined ? bracketed(value) : value;
  }
  return { text };
}

/** One item of a list: a list-valued variable as the whole of it becomes several items (or none). */
export function renderItem(template: string, context: TemplateContext): { items: string[] } | { fault: string } {
  const variable = /^\s*\{\{\s*([^{}]*?)\s*\}\}\s*$/.exec(template)?.[1];
  if (variable !== undefined && Object.hasOwn(lists, variable)) return { items: lists[variable]!(context) };
  const rendered = renderText(template, context);
  return 'fault' in rendered ? rendered : { items: [rendered.text] };
}

function variableValue(variable: string, context: TemplateContext): string | { fault: string } {
  if (variable.startsWith(labelPrefix)) {
    const key = variable.slice(labelPrefix.length);
    const value = Object.hasOwn(context.node.labels, key) ? context.node.labels[key] : undefined;
    return value ?? { fault: `the node has no label "${key}"` };
  }
  if (Object.hasOwn(scalars, variable)) {
    const value = scalars[variable]!(context);
    return typeof value === 'string' ? value : { fault: `{{ ${variable} }} has no value here: ${value.fault}` };
  }
  if (Object.hasOwn(lists, variable)) {
    return { fault: `{{ ${variable} }} is a list; it can only be the whole of one item of a list, as in ipAddresses` };
  }
  return {
    fault: `unknown variable "${variable.slice(0, 80)}"${didYouMean(variable, templateVariables) || `; known ones: ${templateVariables.join(', ')}`}`,
  };
}

/** Keys of the labels that a text's templates speak of. */
export function labelsIn(text: string): string[] {
  return [...text.matchAll(/\{\{\s*node\.labels\.([^{}]*?)\s*\}\}/g)].map((match) => match[1]!);
}
