// Writes deploy/manifests: the shipped manifests with reloads and checks, for clusters whose components run as static pods or under systemd. A unit test holds them to what is shipped.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { componentManifests } from './manifest-files.ts';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'deploy', 'manifests');
mkdirSync(folder, { recursive: true });
for (const { name, text } of componentManifests()) writeFileSync(join(folder, name), text);
