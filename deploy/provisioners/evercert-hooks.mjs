#!/usr/bin/env node
// An executable for Evercert's `command` provisioner: calls one small program of yours per step ("hook") and keeps a journal, so that a step that was done is not done again.
//
//   evercert-hooks.mjs HOOKS STATE
//
// HOOKS is a folder with programs called cordon, uncordon, drain, remove, create and discard; those that are missing are skipped, but for remove and create, which must be there
// (discard: remove is called instead). STATE is a folder for the journal; it is made. A hook gets no arguments, but these variables:
//
//   EVERCERT_ACTION  EVERCERT_KEY  EVERCERT_CLUSTER  EVERCERT_REPLACEMENT  EVERCERT_ATTEMPT
//   EVERCERT_NODE         the node whose machine is meant: the old one, or the new one for create and discard
//   EVERCERT_ADDRESSES    its registered addresses, with blanks between
//   EVERCERT_DNS_NAMES    its registered DNS names, likewise
//   EVERCERT_JOIN         for create alone: a folder with `agent.yaml` and `token`, to be put into the machine's /etc/evercert-agent; it is deleted when the hook ends
//
// Exit code 0: done, and a line on standard output is shown to people. 75: try again later. 78: a person must act. A hook that was interrupted is called again with the same
// EVERCERT_KEY, so it must not mind what it has done already: remove a machine that is gone, create one that this key has made.
import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const codes = { usage: 64, data: 65, config: 78 };
const required = ['remove', 'create'];

/** A failure that ends the run with an exit code; standard error goes into the coordinator's log. */
class Failure extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

function readRequest() {
  let request;
  try {
    request = JSON.parse(readFileSync(0, 'utf8'));
  } catch {
    throw new Failure(codes.data, 'expected one JSON object on standard input, as the coordinator sends it');
  }
  if (request.apiVersion !== 'provisioner.evercert.io/v1') {
    throw new Failure(
      codes.config,
      `this program speaks provisioner.evercert.io/v1, the coordinator ${request.apiVersion}: install the one that came with it`,
    );
  }
  // The key becomes a file name.
  if (!/^[A-Za-z0-9._~-]{1,128}$/.test(request.idempotencyKey) || request.idempotencyKey.startsWith('.')) {
    throw new Failure(codes.data, 'the idempotencyKey is not of the form that the protocol promises');
  }
  return request;
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function hookFor(folder, action) {
  const names = action === 'discard' ? ['discard', 'remove'] : [action];
  const found = names.map((name) => join(folder, name)).find(executable);
  if (found === undefined && required.includes(names.at(-1)))
    throw new Failure(codes.config, `there is no executable ${join(folder, names.at(-1))}`);
  return found;
}

/** What a done step answered; undefined: it is not done. */
function done(journal) {
  try {
    return JSON.parse(readFileSync(journal, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** In one step, and durable: after a power cut the journal has the whole entry or none. */
function record(folder, journal, answer) {
  const draft = `${journal}.${process.pid}.tmp`;
  const file = openSync(draft, 'w', 0o600);
  writeSync(file, `${JSON.stringify(answer)}\n`);
  fsyncSync(file);
  closeSync(file);
  renameSync(draft, journal);
  const entries = openSync(folder, 'r');
  fsyncSync(entries);
  closeSync(entries);
}

function environment(request, joinFolder) {
  const node = request.newNode ?? request.node;
  return {
    ...process.env,
    EVERCERT_ACTION: request.action,
    EVERCERT_KEY: request.idempotencyKey,
    EVERCERT_CLUSTER: request.cluster,
    EVERCERT_REPLACEMENT: request.replacement.id,
    EVERCERT_ATTEMPT: String(request.replacement.attempt),
    EVERCERT_NODE: node.name,
    EVERCERT_ADDRESSES: node.addresses.join(' '),
    EVERCERT_DNS_NAMES: node.dnsNames.join(' '),
    ...(joinFolder && { EVERCERT_JOIN: joinFolder }),
  };
}

function write(path, text) {
  const file = openSync(path, 'wx', 0o600);
  writeSync(file, text);
  closeSync(file);
}

/** The new machine's agent configuration; JSON's lists and texts are YAML too. */
function writeJoinFiles(folder, { newNode, join: facts }) {
  // An earlier run may have been killed before it could delete its own.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  const yaml = [
    'coordinator:',
    `  endpoints: ${JSON.stringify(facts.endpoints)}`,
    `  caPins: ${JSON.stringify(facts.caPins)}`,
    'node:',
    `  name: ${JSON.stringify(newNode.name)}`,
    `  addresses: ${JSON.stringify(newNode.addresses)}`,
    'tokenFile: /etc/evercert-agent/token',
    '',
  ];
  write(join(folder, 'agent.yaml'), yaml.join('\n'));
  write(join(folder, 'token'), `${facts.token}\n`);
}

/** Runs the hook in this process group, so that the coordinator's SIGTERM reaches it too. Resolves to its exit code and its last line. */
function call(hook, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(hook, [], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-4096);
    });
    child.once('error', (error) => reject(new Failure(codes.config, `${hook} cannot be run: ${error.message}`)));
    child.once('exit', (code, signal) => {
      const settle = () => {
        clearTimeout(timer);
        child.stdout.destroy();
        if (signal !== null) reject(new Failure(1, `${hook} was ended by ${signal}`));
        else resolve({ code, message: output.trim().split('\n').at(-1) ?? '' });
      };
      // What the hook has started may hold its output open for ever.
      const timer = setTimeout(settle, 200);
      child.stdout.once('close', settle);
    });
  });
}

async function main([hooks, state, ...rest]) {
  if (hooks === undefined || state === undefined || rest.length > 0)
    throw new Failure(codes.usage, 'usage: evercert-hooks.mjs HOOKS STATE');
  const request = readRequest();
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const journal = join(state, `${request.idempotencyKey}.json`);
  const earlier = done(journal);
  if (earlier !== undefined) return earlier;
  const hook = hookFor(hooks, request.action);
  if (hook === undefined) return {};
  const joinFolder = request.join && join(state, `.join-${request.idempotencyKey}`);
  try {
    if (joinFolder) writeJoinFiles(joinFolder, request);
    const { code, message } = await call(hook, environment(request, joinFolder));
    if (code !== 0) throw new Failure(code, message || `${hook} ended with exit code ${code}`);
    const answer = message === '' ? {} : { message };
    record(state, journal, answer);
    return answer;
  } finally {
    if (joinFolder) rmSync(joinFolder, { recursive: true, force: true });
  }
}

// It reaches the hook as well, whose end is waited for: the token's file must not stay behind.
process.on('SIGTERM', () => process.stderr.write('ended by the coordinator: its time is over, or the coordinator stops\n'));
main(process.argv.slice(2)).then(
  (answer) => void process.stdout.write(`${JSON.stringify(answer)}\n`),
  (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = error instanceof Failure ? error.exitCode : 1;
  },
);
