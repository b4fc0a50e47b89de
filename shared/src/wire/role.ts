import { Role } from '@evercert/proto';
import type { RoleName } from '../manifest/types.ts';

export function roleToProto(role: RoleName | undefined): Role {
  if (role === undefined) return Role.UNSPECIFIED;
  return role === 'control-plane' ? Role.CONTROL_PLANE : Role.WORKER;
}

/** Undefined for ROLE_UNSPECIFIED and for values of a newer protocol. */
export function roleFromProto(role: Role): RoleName | undefined {
  if (role === Role.CONTROL_PLANE) return 'control-plane';
  return role === Role.WORKER ? 'worker' : undefined;
}
