/** Whether a program may be run at all: nobody but root and this user may be able to change it, for it is given tokens and decides over machines. */
import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '@evercert/shared/files';

const sticky = 0o1000;

/** Why the program at an absolute path must not be run, and what to do; undefined: it may. */
export async function programFault(path: string): Promise<string | undefined> {
  try {
    const real = await realpath(path);
    const info = await stat(real);
    if (!info.isFile()) return `${path} is no regular file; name an executable`;
    if (!mine(info.uid)) return `${path} belongs to user ${info.uid}, who could change it; give it to root (chown root ${real})`;
    if ((info.mode & 0o022) !== 0) return `${path} can be written by its group or by everybody; take that away (chmod go-w ${real})`;
    await access(real, constants.X_OK);
    return await foldersFault(path, real);
  } catch (error) {
    return whyNot(path, error);
  }
}

/** Who may write to a folder on the way can put another program in its place. */
async function foldersFault(path: string, real: string): Promise<string | undefined> {
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    const { mode, uid } = await stat(folder);
    if (!mine(uid)) return `${path} lies in ${folder}, which belongs to user ${uid}; move it to a folder of root's, such as /etc/evercert`;
    if ((mode & 0o002) !== 0 && (mode & sticky) === 0) return `${path} lies in ${folder}, to which everybody may write; move it elsewhere`;
    if (folder === dirname(folder)) return undefined;
  }
}

function mine(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

function whyNot(path: string, error: unknown): string {
  const code = errnoOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return `there is no ${path}; install it, or name another executable`;
  if (code === 'EACCES') return `${path} cannot be executed by this user; make it executable (chmod 0755 ${path})`;
  return `${path} cannot be looked at: ${error instanceof Error ? error.message : String(error)}`;
}
