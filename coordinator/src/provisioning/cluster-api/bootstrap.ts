import { open } from 'node:fs/promises';
import { posix } from 'node:path';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { parse, stringify } from 'yaml';
import type { KubernetesApi } from '../../kubernetes/core/index.ts';
import type { JoinFacts } from '../types.ts';
import type { ClusterApiProvisionerConfig } from './config.ts';
import { bootstrapSecretType, claimAnnotation, clusterNameLabel, type Machine } from './objects.ts';

type BootstrapConfig = ClusterApiProvisionerConfig['bootstrap'];
type Document = Record<string, unknown>;

/** A Secret holds 1 MiB at most (https://kubernetes.io/docs/concepts/configuration/secret/), and the agent's part is small. */
const maxTemplateBytes = 900 * 1024;
/** The name of an object has 253 characters at most. */
const suffix = '-evercert-bootstrap';
const maxName = 253;

export function secretName(machine: string): string {
  return `${machine.slice(0, maxName - suffix.length)}${suffix}`;
}

/** The user's cloud-config, as it is now; undefined: there is none. Errors: FailedPrecondition. */
export async function readTemplate(path: string | undefined): Promise<Document | undefined> {
  if (path === undefined) return undefined;
  const unusable = (why: string, cause?: unknown): EvercertError =>
    new EvercertError('FailedPrecondition', `the cloud-config template ${path} cannot be used: ${why}`, { cause });
  let text: string;
  try {
    text = await readBounded(path);
  } catch (error) {
    throw unusable(describeError(error), error);
  }
  let document: unknown;
  try {
    document = parse(text);
  } catch {
    // The parser's message quotes the file, which may hold secrets.
    throw unusable('it is no YAML');
  }
  if (!isDocument(document)) throw unusable('expected a YAML mapping, as cloud-init takes it');
  for (const name of ['write_files', 'runcmd'])
    if (document[name] !== undefined && !Array.isArray(document[name])) throw unusable(`expected a list at ${name}`);
  return document;
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > maxTemplateBytes) throw new Error(`it has ${size} bytes; expected ${maxTemplateBytes} at most`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A cloud-config (https://cloudinit.readthedocs.io/en/latest/reference/modules.html) that lets a machine's agent join; the template's own entries come first. */
export function cloudConfig(node: string, join: JoinFacts, bootstrap: BootstrapConfig, template: Document = {}): string {
  const tokenFile = posix.join(bootstrap.agentFolder, 'token');
  const { node: moreOfNode, ...more } = bootstrap.agent;
  const agent = {
    ...more,
    coordinator: { endpoints: [...join.endpoints], caPins: [...join.caPins] },
    node: { ...(isDocument(moreOfNode) ? moreOfNode : {}), name: node },
    tokenFile,
  };
  const file = (path: string, permissions: string, content: string): object => ({ path, owner: 'root:root', permissions, content });
  const files = [
    file(posix.join(bootstrap.agentFolder, 'agent.yaml'), '0644', stringify(agent)),
    file(tokenFile, '0600', `${join.token}\n`),
  ];
  const document = {
    ...template,
    write_files: [...listOf(template['write_files']), ...files],
    runcmd: [...listOf(template['runcmd']), bootstrap.start],
  };
  return `${bootstrap.jinja ? '## template: jinja\n' : ''}#cloud-config\n${stringify(document)}`;
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/**
 * Writes the Machine's bootstrap data Secret; one that is there already is given the new content. It belongs to the Machine and goes with it. Reading Secrets is not needed, so the role does not
 * allow it.
 */
export async function writeSecret(
  api: KubernetesApi,
  machine: Machine,
  options: { apiVersion: string; namespace: string; claim: string; content: string; template: BootstrapConfig['secretTemplate'] },
): Promise<string> {
  const { namespace, claim, content, template } = options;
  const name = secretName(machine.metadata.name);
  const owner = {
    apiVersion: options.apiVersion,
    kind: 'Machine',
    name: machine.metadata.name,
    uid: machine.metadata.uid,
    controller: true,
  };
  const body = {
    apiVersion: 'v1',
    kind: 'Secret',
    type: bootstrapSecretType,
    metadata: {
      name,
      namespace,
      labels: { ...template.labels, [clusterNameLabel]: machine.spec.clusterName },
      annotations: { ...template.annotations, [claimAnnotation]: claim },
      ownerReferences: [owner],
    },
    stringData: { value: content, format: 'cloud-config' },
  };
  const path = `/api/v1/namespaces/${namespace}/secrets`;
  try {
    await api.send({ method: 'POST', path, body, secret: true });
  } catch (error) {
    if (!(error instanceof EvercertError) || error.code !== 'AlreadyExists') throw error;
    await api.send({ method: 'PATCH', path: `${path}/${name}`, body, secret: true });
  }
  return name;
}
