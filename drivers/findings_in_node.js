'use strict';
/*
 * What the findings in Node share: a quiet console, a clock that stands, an editor of prekey messages, and how a finding
 * is told. Nothing but Node itself. Each finding exits 0 when it is reproduced and 1 when it is not.
 */

const { spawnSync } = require('node:child_process');
const { readdirSync } = require('node:fs');
const { join } = require('node:path');
const { encode, fields } = require('./protobuf_in_node');

const say = (text) => process.stdout.write(`${text}\n`);

/** What the peer writes to the console goes to `heard` and not to the terminal. */
function hush(heard = () => {}) {
  for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace']) console[method] = heard;
}

/** The clock stands still from here on, for peers that order sessions by milliseconds. Returns what lets time pass, as it
 *  does between two messages of real people. */
function stopClock() {
  let now = 1_700_000_000_000;
  Date.now = () => now;
  return () => { now += 60_000; };
}

/** How a call ended: the value, or why it was refused. */
async function outcome(promise) {
  try {
    return { ok: true, value: await promise };
  } catch (error) {
    return { ok: false, error, refused: error.message, text: `${error.name}: ${error.message}` };
  }
}

/** The two after one message each way; `bundle` is the second one's. */
async function acquaint([alice, bob], bundle) {
  await alice.establish(bob, bundle);
  await bob.decrypt(alice, await alice.encrypt(bob, 'hello'));
  await alice.decrypt(bob, await bob.encrypt(alice, 'hello'));
  return [alice, bob];
}

const PREKEY = { preKeyId: 1, baseKey: 2, identityKey: 3, message: 4, registrationId: 5, signedPreKeyId: 6 };

/** A prekey message with some outer fields changed; nobody's key is needed for that. */
function edit({ body }, changes) {
  const changed = fields(body.subarray(1)).map(([number, value]) => {
    const name = Object.keys(PREKEY).find((key) => PREKEY[key] === number);
    return [number, name in changes ? changes[name] : value];
  });
  return { type: 3, body: Buffer.concat([body.subarray(0, 1), encode(changed)]) };
}

/** An outer field of a prekey message. */
const outer = ({ body }, name) => fields(body.subarray(1)).find(([number]) => number === PREKEY[name])?.[1];

/** Run a finding: `body` returns what was seen, a list of [statement, boolean]; all true means reproduced. */
function finding(id, title, body) {
  body().then(
    (seen) => {
      say(`${id} · ${title}`);
      for (const [statement, held] of seen) say(`  ${held ? 'seen    ' : 'NOT SEEN'} ${statement}`);
      const reproduced = seen.length > 0 && seen.every(([, held]) => held === true);
      say(reproduced ? '  reproduced' : '  not reproduced');
      process.exitCode = reproduced ? 0 : 1;
    },
    (error) => {
      say(`${id} · ${title}\n  not reproduced: ${error.stack}`);
      process.exitCode = 1;
    },
  );
}

/** Run every finding of a folder; exit 0 when all are reproduced, 1 when one is not. */
function runAll(folder) {
  const scripts = readdirSync(folder).filter((name) => /^[a-z]{3}-\d\d-.*\.js$/.test(name)).sort();
  const missed = scripts.filter((name) => spawnSync(process.execPath, [join(folder, name)], { stdio: 'inherit', timeout: 180_000 }).status !== 0);
  say(missed.length ? `\nnot reproduced: ${missed.join(', ')}` : `\nall ${scripts.length} findings reproduced`);
  process.exitCode = missed.length || !scripts.length ? 1 : 0;
}

module.exports = { acquaint, edit, finding, hush, outcome, outer, runAll, say, stopClock };
