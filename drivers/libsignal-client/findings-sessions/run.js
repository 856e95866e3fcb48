'use strict';
// Run every finding; exit 0 when all are reproduced, 1 when one is not.
const { spawnSync } = require('node:child_process');
const { readdirSync } = require('node:fs');
const { join } = require('node:path');

const scripts = readdirSync(__dirname).filter((name) => /^[a-z]{3}-\d\d-.*\.js$/.test(name)).sort();
const missed = scripts.filter((name) => spawnSync(process.execPath, [join(__dirname, name)], { stdio: 'inherit', timeout: 60_000 }).status !== 0);
process.stdout.write(missed.length ? `\nnot reproduced: ${missed.join(', ')}\n` : `\nall ${scripts.length} findings reproduced\n`);
process.exitCode = missed.length || !scripts.length ? 1 : 0;
