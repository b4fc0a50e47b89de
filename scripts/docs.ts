// Writes the generated parts of docs/operations.md, between `<!-- generated: NAME -->` and `<!-- end -->`; a unit test holds them together.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitCodeTable, withGenerated } from './docs-tables.ts';

const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs', 'operations.md');
writeFileSync(file, withGenerated(readFileSync(file, 'utf8'), { 'error codes': exitCodeTable() }));
