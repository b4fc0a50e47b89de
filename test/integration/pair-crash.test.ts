import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PairStrategy, pairFaultPoints } from '@evercert/agent/files';
import {
  allowedPaths,
  certificateSpec,
  createTestCa,
  installNew,
  outputs,
  serialsInUse,
  type TestCa,
  TestDisk,
  writeForeignPair,
} from '../support/pair.ts';
import { type ChildAction, writeChildInput } from '../support/pair-child.ts';

const child = fileURLToPath(new URL('../support/pair-child.ts', import.meta.url));
const spec = certificateSpec([outputs.pem, outputs.chain, outputs.dated]);
/** Points that a strategy never comes to; every point must be tried by one of them. */
const foreignSteps = { symlink: /\.rename/, rename: /version|capture|\.link|\.switch/ };
/** Children at a time. */
const parallel = 2;

/** Children start in half the time with it. */
const compileCache = mkdtempSync(join(tmpdir(), 'evercert-compile-cache-'));

interface Start {
  what: string;
  action: ChildAction;
  /** A step that is passed several times is killed at so many passings. */
  passings: number;
  prepare: (disk: TestDisk, ca: TestCa, strategy: PairStrategy) => Promise<void>;
}

const starts: Start[] = [
  {
    what: 'a kubeadm pair is adopted',
    action: 'install',
    passings: 3,
    prepare: async (disk, ca) => void (await writeForeignPair(disk, ca, spec)),
  },
  {
    what: 'a pair is renewed',
    action: 'install',
    passings: 1,
    prepare: async (disk, ca, pairStrategy) => void (await installNew(disk.files({ pairStrategy }), ca, spec)),
  },
  {
    what: 'a foreign pair is replaced by the installed one, and old outputs go',
    action: 'restore',
    passings: 1,
    prepare: async (disk, ca, pairStrategy) => {
      const more = { ...spec, outputs: [...spec.outputs, outputs.kubeconfig] };
      await installNew(disk.files({ pairStrategy }), ca, more);
      for (const path of [outputs.pem.certificate.path, outputs.pem.privateKey.path, outputs.dated.file.path]) rmSync(disk.real(path));
      await writeForeignPair(disk, ca, spec);
    },
  },
];

/** Runs the child; true if the fault point killed it. */
function killedAt(disk: TestDisk, strategy: PairStrategy, action: ChildAction, point: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, EVERCERT_FAULT_POINT: point, NODE_COMPILE_CACHE: compileCache };
    const process_ = execFile(process.execPath, [child, disk.folder, strategy, action], { env }, (error, _stdout, stderr) => {
      if (error === null) resolve(false);
      else if (process_.signalCode === 'SIGKILL') resolve(true);
      else reject(new Error(`${point}: ${error.message} ${stderr}`));
    });
  });
}

/** Temporary files, versions that nothing points to, drafts: what must not outlast recovery. */
function leftovers(disk: TestDisk): string[] {
  const state = readdirSync(join(disk.stateDir, 'certificates', spec.name), { recursive: true, encoding: 'utf8' });
  const declared = allowedPaths.flatMap((path) => disk.list(path));
  const versions = declared.filter((path) => /\.evercert\/apiserver\/[^/]+$/.test(path) && !path.endsWith('/current'));
  const pairs = state.filter((path) => /^pairs\/[^/]+$/.test(path));
  const dated = declared.filter((path) => /^kubelet-client-\d/.test(path));
  return [
    ...[...declared, ...state].filter((path) => /evercert-tmp|draft|journal/.test(path)),
    ...versions.slice(1).map((path) => `a second version ${path}`),
    ...pairs.slice(1).map((path) => `a second pair ${path}`),
    ...dated.slice(2).map((path) => `a third dated file ${path}`),
  ];
}

describe('A crash while files are changed', () => {
  const passed = new Set<string>();
  let ca: TestCa;

  before(async () => {
    ca = await createTestCa();
  });

  after(() => rmSync(compileCache, { recursive: true, force: true }));

  for (const strategy of ['symlink', 'rename'] as const) {
    for (const { what, action, passings, prepare } of starts) {
      it(`leaves a matching pair at every step when ${what}, by ${strategy}`, async function () {
        this.timeout(240_000);
        const template = new TestDisk();
        try {
          await prepare(template, ca, strategy);
          writeChildInput(template, ca, spec);
          const points = pairFaultPoints.filter((point) => !foreignSteps[strategy].test(point));
          const walk = async (): Promise<void> => {
            for (let point = points.shift(); point !== undefined; point = points.shift()) {
              for (let passing = 1; passing <= passings; passing++) {
                if (!(await crashAndRecover(template, strategy, action, `${point}@${passing}`))) break;
                passed.add(point);
              }
            }
          };
          await Promise.all(Array.from({ length: parallel }, walk));
        } finally {
          template.remove();
        }
      });
    }
  }

  it('was tried at every fault point', () => {
    assert.deepEqual(
      pairFaultPoints.filter((point) => !passed.has(point)),
      [],
    );
  });

  async function crashAndRecover(template: TestDisk, strategy: PairStrategy, action: ChildAction, point: string): Promise<boolean> {
    const disk = copyOf(template);
    try {
      const before = serialsInUse(disk, spec);
      if (!(await killedAt(disk, strategy, action, point))) return false;
      if (strategy === 'symlink') assert.equal(serialsInUse(disk, spec).length, before.length, point);
      const files = disk.files({ pairStrategy: strategy });
      const did = await files.recover();
      assert.ok(!did.some((line) => line.includes('could not')), `${point}: ${did.join('; ')}`);
      assert.equal(serialsInUse(disk, spec).length, before.length, point);
      assert.deepEqual(leftovers(disk), [], `${point}: ${did.join('; ')}`);
      assert.deepEqual(await files.recover(), [], `${point}: a second recovery finds nothing to do`);
      await finish(disk, files, action, point);
      return true;
    } finally {
      disk.remove();
    }
  }

  /** After a crash the work goes on as if it had not happened. */
  async function finish(disk: TestDisk, files: ReturnType<TestDisk['files']>, action: ChildAction, point: string): Promise<void> {
    if (action === 'restore') await files.restore(spec, [ca.der]);
    else {
      const waiting = await files.pending(spec.name);
      if (waiting?.chain === undefined) await installNew(files, ca, spec);
      else await files.install(spec, [ca.der]);
    }
    const installed = await files.installed(spec.name);
    assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([installed?.serial]), point);
    assert.deepEqual(await files.inspect(spec, [ca.der]), [], point);
    assert.deepEqual(leftovers(disk), [], point);
  }
});

function copyOf(template: TestDisk): TestDisk {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'evercert-crash-')));
  cpSync(template.folder, folder, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true, force: true });
  return new TestDisk(folder);
}
