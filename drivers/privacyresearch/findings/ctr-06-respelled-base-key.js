'use strict';
// CTR-03, CTR-06: a replayed prekey message delivers no second plaintext and creates no second session.
// Sessions are found by the base key as it is spelled, and one base key has several spellings with the same secrets:
// without the type byte, or with the unused top bit set. The outer message has no MAC, so anyone can respell it.
// Attacker: whoever recorded a prekey message made without a one-time prekey. He needs no key.
// (With a one-time prekey the copy is refused, because that is gone: the control.)
const { devices, edit, finding, outcome, outer } = require('./lib');

const spellings = {
  'without the type byte': (key) => key.subarray(1),
  'with the top bit set': (key) => { const other = Buffer.from(key); other[32] |= 0x80; return other; },
};

finding('CTR-06', 'a prekey message with its base key respelled is delivered again', async () => {
  const seen = [];
  for (const [how, respell] of Object.entries(spellings)) {
    for (const oneTime of [false, true]) {
      const [alice, bob] = await devices('alice', 'bob');
      await alice.establish(bob, bob.bundle({ oneTime }));
      const message = await alice.encrypt(bob, 'pay 10');
      await bob.decrypt(alice, message);
      const same = await outcome(bob.decrypt(alice, message));
      const again = await outcome(bob.decrypt(alice, edit(message, { baseKey: respell(outer(message, 'baseKey')) })));
      if (oneTime) seen.push([`control, ${how}, with a one-time prekey: refused`, !same.ok && !again.ok]);
      else {
        const sessions = Object.keys(bob.record(alice).sessions).length;
        seen.push([`${how}: the exact copy is refused`, !same.ok]);
        seen.push([`${how}: delivered a second time, and there are two sessions`, again.value === 'pay 10' && sessions === 2]);
      }
    }
  }
  return seen;
});
