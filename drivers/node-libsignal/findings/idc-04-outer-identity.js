'use strict';
// IDC-04, IDC-08: the outer identity of a prekey message equals the session's; sessions of a replaced identity are dead.
// For a known base key the trust question is asked about the *outer* identity, and the session of the *old* one decrypts.
// Attacker: the holder of the replaced identity's device (a lost phone). The new identity key is public.
const { Device, acquainted, edit, encode, finding, libsignal, outcome } = require('./lib');

finding('IDC-04', 'a replaced identity goes on talking by naming the new one in the outer message', async () => {
  const bob = new Device('bob');
  const lost = new Device('alice');
  await lost.establish(bob, bob.bundle());
  await bob.decrypt(lost, await lost.encrypt(bob, 'hello'));

  const alice = new Device('alice'); // a new phone, a new identity
  bob.approve(alice);

  const plain = await lost.encrypt(bob, 'from the lost phone');
  const refused = await outcome(bob.decrypt(lost, plain));
  const disguised = edit(await lost.encrypt(bob, 'from the lost phone, disguised'), { identityKey: alice.identity.pubKey });
  const accepted = await outcome(bob.decrypt(lost, disguised));

  // The same with a message of an acknowledged session: the attacker wraps it himself.
  const [other, carol] = await acquainted();
  const baseKey = Buffer.from(Object.keys(other.record(carol)._sessions)[0], 'base64');
  const fresh = new Device('alice');
  carol.approve(fresh);
  const { body } = await other.encrypt(carol, 'wrapped');
  const direct = await outcome(carol.decrypt(other, { type: 1, body }));
  const wrapped = { type: 3, body: Buffer.concat([Buffer.from([0x33]), encode([[2, baseKey], [3, fresh.identity.pubKey], [4, body], [5, 7], [6, 1]])]) };
  const got = await outcome(carol.decrypt(other, wrapped));
  return [
    ['after the replacement the old identity is refused as such', refused.error instanceof libsignal.UntrustedIdentityKeyError],
    ['its message with the new identity in the outer field is decrypted', accepted.value === 'from the lost phone, disguised'],
    ['an acknowledged session: the plain message is refused', direct.error instanceof libsignal.UntrustedIdentityKeyError],
    ['an acknowledged session: the wrapped message is decrypted', got.ok && got.value === 'wrapped'],
  ];
});
