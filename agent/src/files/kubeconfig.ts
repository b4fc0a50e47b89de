/** Kubeconfigs: written whole where there is none, else only our user's credentials and our cluster's CA are changed, and all that an admin put there stays. */
import type { OutputSpec } from '@evercert/shared/manifest';
import { type Document, isMap, isScalar, isSeq, parseDocument, stringify, type YAMLMap } from 'yaml';

export type KubeconfigOutput = Extract<OutputSpec, { type: 'kubeconfig' }>;

/** What goes into it; PEM. */
export interface KubeconfigMaterial {
  chain: string;
  privateKey: string;
  trustAnchors: string;
}

export interface MergedKubeconfig {
  text: string;
  /** What was there is no kubeconfig, and none of it is in the text. */
  damaged: boolean;
  /** What was there had an entry for our user. */
  ours: boolean;
}

/**
 * The text that the file is to have. `present` is what it holds now; undefined or blank: nothing. A file in which our part is right already comes back to the letter, so that the
 * result merged again is the result.
 */
export function mergeKubeconfig(output: KubeconfigOutput, material: KubeconfigMaterial, present: string | undefined): MergedKubeconfig {
  const parts = partsOf(output, material);
  if (present === undefined || present.trim() === '') return { text: newKubeconfig(output, parts), damaged: false, ours: false };
  const document = parseOrNothing(present);
  if (document === undefined || !isKubeconfig(document)) return { text: newKubeconfig(output, parts), damaged: true, ours: false };
  const merge = new Merge(document);
  const ours = merge.has('users', output.user);
  merge.entry('clusters', output.clusterName, 'cluster', parts.cluster, { server: output.server });
  merge.entry('users', output.user, 'user', parts.user, {});
  merge.context(output);
  const indentSeq = !/^(?:clusters|users|contexts):\s*\n- /m.test(present);
  return { text: merge.changed ? document.toString({ lineWidth: 0, indentSeq }) : present, damaged: false, ours };
}

function parseOrNothing(text: string): ReturnType<typeof parseDocument> | undefined {
  try {
    return parseDocument(text);
  } catch (error) {
    // Nested more deeply than the stack.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

export interface KubeconfigChoice {
  text: string;
  /** What is there cannot be made use of, and is not a part of what was there before either. */
  lost: boolean;
}

/**
 * As `mergeKubeconfig`, with what the file is known to have held: that is gone back to where the file is missing, was cut off in our part, cannot be read, or is another's, without an
 * entry for our user.
 */
export function chooseKubeconfig(
  output: KubeconfigOutput,
  material: KubeconfigMaterial,
  { present, known }: { present: string | undefined; known: string | undefined },
): KubeconfigChoice {
  const merged = mergeKubeconfig(output, material, present);
  if (merged.text === present) return { text: present, lost: false };
  const cutOff = present !== undefined && (known?.startsWith(present) ?? false);
  const usable = !merged.damaged && (known === undefined || (merged.ours && !cutOff));
  if (usable) return { text: merged.text, lost: false };
  return { text: mergeKubeconfig(output, material, known).text, lost: !cutOff && (present ?? '').trim() !== '' };
}

/** Keys that must be so; undefined: that must not be there. */
type Wanted = Record<string, string | undefined>;

/** Paths in it are as the component sees them, so rootDir is not in them. */
function partsOf(output: KubeconfigOutput, { chain, privateKey, trustAnchors }: KubeconfigMaterial): { cluster: Wanted; user: Wanted } {
  const either = (key: string, path: string | undefined, pem: string): Wanted =>
    path === undefined ? { [`${key}-data`]: base64(pem), [key]: undefined } : { [key]: path, [`${key}-data`]: undefined };
  return {
    cluster: either('certificate-authority', output.certificateAuthorityPath, trustAnchors),
    user: {
      ...either('client-certificate', output.certificatePath, chain),
      ...either('client-key', output.privateKeyPath, privateKey),
    },
  };
}

/** As kubeadm writes it. */
function newKubeconfig({ clusterName, server, user }: KubeconfigOutput, parts: { cluster: Wanted; user: Wanted }): string {
  const context = `${user}@${clusterName}`;
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: clusterName, cluster: { ...present(parts.cluster), server } }],
    contexts: [{ name: context, context: { cluster: clusterName, user } }],
    'current-context': context,
    preferences: {},
    users: [{ name: user, user: present(parts.user) }],
  };
  return stringify(config, { lineWidth: 0 });
}

function present(wanted: Wanted): Record<string, string> {
  return Object.fromEntries(Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

const lists = ['clusters', 'users', 'contexts'] as const;

/** Whether kubectl could make sense of it: one document, a mapping, its lists made of mappings. */
function isKubeconfig(document: ReturnType<typeof parseDocument>): document is ReturnType<typeof parseDocument> & { contents: YAMLMap } {
  if (document.errors.length > 0 || !isMap(document.contents)) return false;
  const kind = document.get('kind');
  if (kind !== undefined && kind !== 'Config') return false;
  return lists.every((name) => {
    const list = document.get(name, true);
    const blank = list === undefined || (isScalar(list) && list.value === null);
    return blank || (isSeq(list) && list.items.every((item) => isMap(item)));
  });
}

class Merge {
  changed = false;
  readonly #document: Document;

  constructor(document: Document) {
    this.#document = document;
  }

  has(list: 'clusters' | 'users', name: string): boolean {
    return this.#find(list, name) !== undefined;
  }

  /** An entry of a list by its name: made where it is missing (then with `more`), else brought to what is wanted; its other keys stay. */
  entry(listName: 'clusters' | 'users', name: string, key: 'cluster' | 'user', wanted: Wanted, more: Record<string, string>): void {
    const found = this.#find(listName, name);
    if (found === undefined) {
      this.#add(listName, { name, [key]: { ...present(wanted), ...more } });
      return;
    }
    const body = found.get(key, true);
    if (!isMap(body)) {
      found.set(key, this.#document.createNode({ ...present(wanted), ...more }));
      this.changed = true;
      return;
    }
    for (const [field, value] of Object.entries(wanted)) this.#set(body, field, value);
    for (const [field, value] of Object.entries(more)) if (!body.has(field)) this.#set(body, field, value);
  }

  /** Somebody may have named it otherwise; without any, the user could not be chosen. */
  context({ user, clusterName }: KubeconfigOutput): void {
    const contexts = this.#list('contexts');
    const ofUser = contexts.find((item) => item.getIn(['context', 'user']) === user);
    const name = `${user}@${clusterName}`;
    if (ofUser === undefined) this.#add('contexts', { name, context: { cluster: clusterName, user } });
    const current = this.#document.get('current-context');
    if (contexts.some((item) => item.get('name') === current)) return;
    this.#document.set('current-context', ofUser?.get('name') ?? name);
    this.changed = true;
  }

  #set(map: YAMLMap, key: string, value: string | undefined): void {
    if (map.get(key) === value) return;
    if (value === undefined) map.delete(key);
    else map.set(key, value);
    this.changed = true;
  }

  #find(list: (typeof lists)[number], name: string): YAMLMap | undefined {
    return this.#list(list).find((item) => item.get('name') === name);
  }

  #list(name: (typeof lists)[number]): YAMLMap[] {
    const list = this.#document.get(name, true);
    return isSeq(list) ? list.items.filter((item): item is YAMLMap => isMap(item)) : [];
  }

  #add(listName: (typeof lists)[number], entry: object): void {
    const list = this.#document.get(listName, true);
    if (isSeq(list)) list.add(this.#document.createNode(entry));
    else this.#document.set(listName, this.#document.createNode([entry]));
    this.changed = true;
  }
}

function base64(pem: string): string {
  return Buffer.from(pem).toString('base64');
}
