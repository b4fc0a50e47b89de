/**
 * Names every durable step, so that a test can kill the process exactly there. Off unless EVERCERT_FAULT_POINT is set: `NAME` or `NAME@N`
 * (at the N-th passing, the first by default) kills this process with SIGKILL, as a power cut would. With EVERCERT_FAULT_ARM, passings count only
 * once that file exists: a test that wants its own request to die, and not something at the start, makes the file just before.
 */
import { existsSync } from 'node:fs';

const [wantedName, wantedCount] = (process.env['EVERCERT_FAULT_POINT'] ?? '').split('@');
const armFile = process.env['EVERCERT_FAULT_ARM'];
let passed = 0;

export function faultPoint(name: string): void {
  if (!wantedName || wantedName !== name) return;
  if (armFile && !existsSync(armFile)) return;
  passed += 1;
  if (passed === Number(wantedCount ?? 1)) process.kill(process.pid, 'SIGKILL');
}
