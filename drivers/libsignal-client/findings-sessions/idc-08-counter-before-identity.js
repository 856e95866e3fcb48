'use strict';
// IDC-08: sessions of an identity that was replaced neither encrypt nor decrypt, and are refused for that.
// The peer looks for the message's key first and asks about the identity afterwards: a repeated message of a replaced
// identity is refused as a repeat. Harmless: only the reason differs, nothing is read. Attacker: none.
const { finding, outcome } = require('./lib');

finding('IDC-08', 'a repeat of a replaced identity is refused as a repeat', async ({ acquainted, Device }) => {
  const [alice, bob] = await acquainted();
  const repeated = await alice.send(bob, 'read before');
  await bob.read(alice, repeated);
  const fresh = await alice.send(bob, 'new');
  bob.identities.trusted = new Device('alice').identity.getPublicKey();
  const again = await outcome(bob.read(alice, repeated));
  const next = await outcome(bob.read(alice, fresh));
  const back = await outcome(bob.send(alice, 'hello'));
  return [
    [`the repeat: ${again.refused}`, /old counter/.test(again.refused)],
    [`a new message: ${next.refused}`, /untrusted identity/.test(next.refused)],
    [`sending: ${back.refused}`, /untrusted identity/.test(back.refused)],
  ];
});
