'use strict';
// KEY-03: a one-time prekey is gone once it was used, and serves exactly one session.
// A refused first message leaves its new session in the record that loadSession returned. With a store that hands out the
// object it holds, the true message then finds its base key known, skips the prekey, and nobody ever removes it: it serves
// again. A store that serialises is not affected.
// Attacker: anyone in transit, who hands over a changed copy first. He needs no key. A server for the second session.
const { Device, decode, edit, encode, finding, outcome, outer } = require('./lib');

async function first({ live }) {
  const [alice, carol, bob] = [new Device('alice'), new Device('carol'), new Device('bob')];
  // The record exists before: otherwise the peer makes a new one, which no store holds yet.
  await bob.establish(alice, alice.bundle());
  if (live) {
    const held = new Map();
    const { loadSession, storeSession } = Device.prototype;
    bob.loadSession = async (at) => {
      if (!held.has(at)) held.set(at, await loadSession.call(bob, at));
      return held.get(at);
    };
    bob.storeSession = async (at, record) => { held.set(at, record); await storeSession.call(bob, at, record); };
  }
  const bundle = bob.bundle({ oneTime: true });
  await alice.establish(bob, bundle);
  await carol.establish(bob, bundle);
  const message = await alice.encrypt(bob, 'hello');
  // The copy claims another counter: its key is another one, so that the true message's key stays.
  const inner = outer(message, 'message');
  const fields = decode(inner.subarray(1, -8)).map(([number, value]) => [number, number === 2 ? value + 1 : value]);
  const copy = edit(message, { message: Buffer.concat([inner.subarray(0, 1), encode(fields), inner.subarray(-8)]) });
  const refused = await outcome(bob.decrypt(alice, copy));
  const read = await outcome(bob.decrypt(alice, message));
  const left = bob.preKeys.size;
  const second = await outcome(bob.decrypt(carol, await carol.encrypt(bob, 'again')));
  return { refused, read, left, second };
}

finding('KEY-03', 'after a changed copy was refused, the true first message leaves its one-time prekey behind', async () => {
  const live = await first({ live: true });
  const text = await first({ live: false });
  return [
    ['the changed copy is refused, the true message is read', !live.refused.ok && live.read.value === 'hello'],
    ['its one-time prekey is still there', live.left === 1],
    ['and makes a second session', live.second.ok && live.second.value === 'again'],
    ['control, a store that serialises: the prekey is gone, the second session is refused',
      !text.refused.ok && text.read.ok && text.left === 0 && !text.second.ok],
  ];
});
