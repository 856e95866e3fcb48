'use strict';
/*
 * How long the peer itself takes, for `make bench ARGS=harness`: loaded before the driver of node-libsignal (node -r), it
 * times the calls of the peer's public API, the callbacks of the store within them included, and writes the sums to the
 * file that PAWL_PEER_CLOCK names when the program ends. The driver is not changed.
 */
const { writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');

const libsignal = createRequire(process.argv[1])('libsignal');
const spent = { calls: 0, peer_ms: 0, peer_cpu_ms: 0, cpu_ms: 0 };
let depth = 0;
let began;

function enter() {
  depth += 1;
  if (depth === 1) began = [process.hrtime.bigint(), process.cpuUsage()];
}

function leave() {
  depth -= 1;
  if (depth > 0) return;
  const { user, system } = process.cpuUsage(began[1]);
  spent.calls += 1;
  spent.peer_ms += Number(process.hrtime.bigint() - began[0]) / 1e6;
  spent.peer_cpu_ms += (user + system) / 1e3;
}

/** Time a function, also one that promises its result. One that is called within another is part of that one. */
function timed(where, name) {
  const call = where[name];
  where[name] = function clocked(...given) {
    enter();
    let result;
    try {
      result = call.apply(this, given);
    } catch (error) {
      leave();
      throw error;
    }
    if (typeof result?.then !== 'function') {
      leave();
      return result;
    }
    return result.finally(leave);
  };
}

timed(libsignal.SessionBuilder.prototype, 'initOutgoing');
for (const name of ['encrypt', 'decryptWhisperMessage', 'decryptPreKeyWhisperMessage']) timed(libsignal.SessionCipher.prototype, name);
for (const name of Object.keys(libsignal.keyhelper).filter((each) => each.startsWith('generate'))) timed(libsignal.keyhelper, name);

// What comes before the first request is not part of it.
let before = process.cpuUsage();
process.stdin.once('data', () => { before = process.cpuUsage(); });
process.on('exit', () => {
  const { user, system } = process.cpuUsage(before);
  spent.cpu_ms = (user + system) / 1e3;
  writeFileSync(process.env.PAWL_PEER_CLOCK, JSON.stringify(spent));
});
