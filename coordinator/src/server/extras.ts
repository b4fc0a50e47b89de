import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import type { Guard } from '../rpc/guard.ts';

/** FileDescriptorSet of the protocol, made with the generated code. */
const descriptors = fileURLToPath(new URL('gen/descriptors.binpb', import.meta.resolve('@evercert/proto')));
const services = ['evercert.v1.EnrollmentService', 'evercert.v1.NodeService', 'evercert.v1.RecoveryService', 'evercert.v1.AdminService'];

/** grpc.health.v1 (https://grpc.io/docs/guides/health-checking/), for the server as a whole and for each service. */
export class Health {
  readonly #implementation = new HealthImplementation();

  addTo(server: Server, guard: Guard): void {
    this.set(false);
    this.#implementation.addToServer(guard.on(server) as Server);
  }

  set(serving: boolean): void {
    for (const service of ['', ...services]) this.#implementation.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING');
  }
}

/** gRPC server reflection (https://grpc.io/docs/guides/reflection/) of the product's own services. */
export function addReflection(server: Server, guard: Guard): void {
  const fileDescriptorProtos = filesOf(readFileSync(descriptors));
  // Of a package definition the service reads the file descriptors alone. Those of proto-loader lack their imports, so that clients cannot link them: these are buf's.
  const definition = { evercert: { fileDescriptorProtos } } as unknown as PackageDefinition;
  new ReflectionService(definition, { services }).addToServer(guard.on(server) as Server);
}

/** The serialized files of a FileDescriptorSet, whose field 1 they are. */
function filesOf(set: Uint8Array): Buffer[] {
  const reader = new BinaryReader(set);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
}
