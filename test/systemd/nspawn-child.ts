// `node nspawn-child.ts CONFIG STATE_DIR KEY NODE`: makes a machine, as a coordinator that the test may kill at any moment.
import { openProvisioners, provisionersSchema } from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { createCall } from './nspawn-fixture.ts';

const [config = '', stateDir = '', idempotencyKey = '', name = ''] = process.argv.slice(2);
const provisioners = await openProvisioners(provisionersSchema.parse({ here: JSON.parse(config) }), {
  clock: systemClock,
  logger: silentLogger,
  stateDir,
});
await provisioners.get('here')?.create(createCall({ name }, { idempotencyKey }));
await provisioners.close();
