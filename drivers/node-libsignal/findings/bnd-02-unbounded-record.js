'use strict';
// BND-02, BND-03: skipped keys per chain and session, receiving chains and archived sessions never exceed their limits,
// and the work per message does not grow with the age of the session.
// Attacker: for kept keys a peer with a session, who sends every 2000th message; chains grow with every honest turn;
// archived sessions grow with every bundle that is processed without anything sent in between.
const { acquainted, finding } = require('./lib');

const receiving = (session) => Object.values(session._chains).filter(({ chainType }) => chainType === 2);
const kept = (chain) => Object.keys(chain.messageKeys).length;
const open = (record) => Object.values(record._sessions).find(({ indexInfo }) => indexInfo.closed === -1);

finding('BND-02', 'kept keys, receiving chains and (while establishing) archived sessions are unbounded', async () => {
  const [alice, bob] = await acquainted();
  for (let jump = 0; jump < 5; jump += 1) {
    for (let n = 0; n < 1999; n += 1) await alice.encrypt(bob, '');
    await bob.decrypt(alice, await alice.encrypt(bob, 'every 2000th'));
  }
  const most = Math.max(...receiving(open(bob.record(alice))).map(kept));

  const [carol, dave] = await acquainted();
  const sizes = [];
  for (let turn = 0; turn < 200; turn += 1) {
    await dave.decrypt(carol, await carol.encrypt(dave, 'ping'));
    await carol.decrypt(dave, await dave.encrypt(carol, 'pong'));
    sizes.push(dave.sessions.get('alice.1').length);
  }
  const chains = receiving(open(dave.record(carol))).length;

  for (let n = 0; n < 60; n += 1) await carol.establish(dave, dave.bundle());
  const archived = Object.values(carol.record(dave)._sessions).filter(({ indexInfo }) => indexInfo.closed !== -1).length;
  return [
    [`one chain keeps ${most} message keys after 5 messages`, most === 5 * 1999],
    [`${chains} receiving chains after 200 turns with every message read; the record grew from ${sizes[0]} to ${sizes.at(-1)} bytes`, chains > 200 && sizes.at(-1) > 10 * sizes[0]],
    [`${archived} archived sessions after 60 bundles (40 are kept as soon as something is sent)`, archived > 40],
  ];
});
