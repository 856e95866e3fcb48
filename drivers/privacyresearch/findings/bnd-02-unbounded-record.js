'use strict';
// BND-02: skipped keys per chain and session, and receiving chains, never exceed their limits.
// The peer notes superseded chains, ten of them, and does not delete the others; keys of skipped messages stay with them.
// Attacker: for kept keys a peer with a session, who sends every 2000th message; chains grow with every honest turn.
const { acquainted, counted, finding } = require('./lib');

// Sooner done.
counted();

const receiving = (session) => Object.values(session.chains).filter(({ chainType }) => chainType === 2);
const kept = (chain) => Object.keys(chain.messageKeys).length;
const open = (record) => Object.values(record.sessions).find(({ indexInfo }) => indexInfo.closed === -1);

finding('BND-02', 'kept keys and receiving chains are unbounded', async () => {
  const [alice, bob] = await acquainted();
  for (let jump = 0; jump < 2; jump += 1) {
    for (let n = 0; n < 1999; n += 1) await alice.encrypt(bob, '');
    await bob.decrypt(alice, await alice.encrypt(bob, 'every 2000th'));
  }
  const most = Math.max(...receiving(open(bob.record(alice))).map(kept));

  const [carol, dave] = await acquainted();
  const sizes = [];
  for (let turn = 0; turn < 40; turn += 1) {
    await dave.decrypt(carol, await carol.encrypt(dave, 'ping'));
    await carol.decrypt(dave, await dave.encrypt(carol, 'pong'));
    sizes.push(dave.sessions.get('alice.1').length);
  }
  const chains = receiving(open(dave.record(carol))).length;
  return [
    [`one chain keeps ${most} message keys after 2 messages`, most === 2 * 1999],
    [`${chains} receiving chains after 40 turns with every message read; the record grew from ${sizes[0]} to ${sizes.at(-1)} bytes`, chains > 40 && sizes.at(-1) > 5 * sizes[0]],
  ];
});
