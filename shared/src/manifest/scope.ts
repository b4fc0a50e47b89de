import type { Path } from '../config/index.ts';
import { manifestLimits } from './limits.ts';
import { isCleanPath } from './schema.ts';
import { type RenderOptions, renderItem, renderText, type TemplateContext } from './template.ts';
import type { FileSpec } from './types.ts';

/** Something wrong with a manifest, by the path of its field in the YAML form. */
export interface Finding {
  path: Path;
  message: string;
}

/** A file that a manifest writes on a node. */
export interface DeclaredFile {
  /** Absolute, resolved. */
  path: string;
  field: Path;
}

/** One manifest being resolved for one node: renders its templates and gathers what is wrong with it and which files it writes. */
export class Scope {
  readonly context: TemplateContext;
  readonly findings: Finding[] = [];
  readonly files: DeclaredFile[] = [];

  constructor(context: TemplateContext) {
    this.context = context;
  }

  refuse(path: Path, message: string): void {
    this.findings.push({ path, message });
  }

  /** The text with its templates resolved; on a fault it is recorded, and the text comes back as it was. */
  text(path: Path, template: string, options: RenderOptions = {}): string {
    const rendered = renderText(template, this.context, options);
    if ('text' in rendered) return rendered.text;
    this.refuse(path, rendered.fault);
    return template;
  }

  /**
   * The items with their templates resolved, each made canonical by `check`, without repetitions. `check` says what is wrong with an item by a fault.
   */
  list(path: Path, templates: readonly string[], check: (item: string) => { value: string } | { fault: string }): string[] {
    const items = new Set<string>();
    for (const [index, template] of templates.entries()) {
      const rendered = renderItem(template, this.context);
      if ('fault' in rendered) {
        this.refuse([...path, index], rendered.fault);
        continue;
      }
      for (const item of rendered.items) {
        const checked = check(item);
        if ('fault' in checked) this.refuse([...path, index], `${checked.fault}; found ${shown(template, item)}`);
        else items.add(checked.value);
      }
    }
    return [...items];
  }

  /** A file that the agent writes. A secret one may be read by its owner, and at most by its group. */
  file(path: Path, spec: FileSpec, options: { secret: boolean }): FileSpec {
    const field = [...path, 'path'];
    const before = this.findings.length;
    const resolved = this.reference(field, spec.path);
    if (this.findings.length === before) {
      this.#checkPlace(field, resolved);
      this.files.push({ path: resolved, field });
    }
    this.#checkMode([...path, 'mode'], spec.mode, options.secret);
    return { ...spec, path: resolved };
  }

  /** A path that is only referred to: absolute and clean, anywhere. */
  reference(field: Path, template: string): string {
    const before = this.findings.length;
    const path = this.text(field, template);
    if (this.findings.length > before) return path;
    if (!path.startsWith('/')) this.refuse(field, `expected an absolute path, found ${shown(template, path)}`);
    else if (path.endsWith('/')) this.refuse(field, `expected the path of a file, found a folder's: ${shown(template, path)}`);
    else if (!isCleanPath(path)) this.refuse(field, `expected a path without "..", "." or "//", found ${shown(template, path)}`);
    else if (path.length > manifestLimits.pathLength)
      this.refuse(field, `expected a path of at most ${manifestLimits.pathLength} characters`);
    return path;
  }

  #checkPlace(field: Path, path: string): void {
    const folders = this.context.cluster.policy.allowedPaths.map((folder) => folder.replace(/\/+$/, ''));
    if (folders.includes(path)) this.refuse(field, `expected a file, found the folder "${path}" itself`);
    else if (!folders.some((folder) => path.startsWith(`${folder}/`))) {
      this.refuse(
        field,
        `"${path}" lies outside the folders that the cluster allows (${folders.join(', ')}); move it or extend the cluster's allowedPaths`,
      );
    }
  }

  #checkMode(field: Path, mode: number, secret: boolean): void {
    if ((mode & 0o400) === 0) this.refuse(field, 'the owner must be able to read the file; expected a mode such as "0600"');
    else if ((mode & 0o111) !== 0) this.refuse(field, 'the file is no program; expected a mode without execute bits, such as "0600"');
    else if (secret && (mode & 0o026) !== 0) {
      this.refuse(
        field,
        'the file holds a private key: others must not read it and only its owner may write it; expected "0600", or "0640" for a group',
      );
    } else if ((mode & 0o022) !== 0) this.refuse(field, 'only the owner may write the file; expected a mode such as "0644"');
  }
}

/** A value in a message: as the manifest has it, and what that comes to where it is a template. */
export function shown(template: string, resolved: string): string {
  return template === resolved ? `"${resolved}"` : `"${template}" (here "${resolved}")`;
}
