import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Server } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import type { Guard } from '../rpc/guard.ts';

const protoFolder = dirname(dirname(fileURLToPath(import.meta.resolve('@evercert/proto'))));
const services = ['evercert.v1.EnrollmentService', 'evercert.v1.NodeService', 'evercert.v1.AdminService'];

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

/** gRPC server reflection of the product's own services. */
export function addReflection(server: Server, guard: Guard): void {
  const files = ['enrollment_service', 'node_service', 'admin_service'].map((name) => join(protoFolder, 'evercert', 'v1', `${name}.proto`));
  const definitions = loadSync(files, { includeDirs: [protoFolder], keepCase: true });
  new ReflectionService(definitions).addToServer(guard.on(server) as Server);
}
