/**
 * Names every durable step, so that a test can kill the process exactly there. Off unless EVERCERT_FAULT_POINT is set: `NAME` or `NAME@N`
 * (at the N-th passing, the first by default) kills this process with SIGKILL, as a power cut would.
 */
const [wantedName, wantedCount] = (process.env['EVERCERT_FAULT_POINT'] ?? '').split('@');
let passed = 0;

export function faultPoint(name: string): void {
  if (!wantedName || wantedName !== name) return;
  passed += 1;
  if (passed === Number(wantedCount ?? 1)) process.kill(process.pid, 'SIGKILL');
}
