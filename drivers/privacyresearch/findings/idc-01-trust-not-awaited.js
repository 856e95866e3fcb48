'use strict';
// IDC-01, IDC-02, IDC-04, IDC-08: what a pinned name sends under another identity is refused until the user decides.
// For a prekey message the peer calls isTrustedIdentity and does not await the promise that its own types ask for: a
// promise counts as "trusted". No other callback can refuse there before the message is read.
// Attacker: anyone who knows a signed prekey, under any name; the holder of a replaced identity's device.
// A way round for applications: look at the outer identity of a prekey message before the library gets it.
const { Device, devices, edit, finding, outcome } = require('./lib');

finding('IDC-01', 'a prekey message of an identity that is not trusted is read', async () => {
  const [alice, bob] = await devices('alice', 'bob');
  await alice.establish(bob, bob.bundle());
  await bob.decrypt(alice, await alice.encrypt(bob, 'hello'));
  const [mallory] = await devices('alice'); // another identity, handed over under alice's name
  await mallory.establish(bob, bob.bundle());
  const forged = await outcome(bob.decrypt(mallory, await mallory.encrypt(bob, 'it is me')));
  const answer = await outcome(bob.encrypt(alice, 'hello'));

  const careful = await Device.make('bob', { trust: 'nobody' });
  const [carol] = await devices('carol');
  await carol.establish(careful, careful.bundle());
  const unknown = await outcome(careful.decrypt(carol, await carol.encrypt(careful, 'hello')));

  // A lost phone, and the new one that was approved in its place.
  const [lost, dave] = await devices('erin', 'dave');
  await lost.establish(dave, dave.bundle());
  await dave.decrypt(lost, await lost.encrypt(dave, 'hello'));
  const [fresh] = await devices('erin');
  dave.approve(fresh);
  const replaced = await outcome(dave.decrypt(lost, await lost.encrypt(dave, 'from the lost phone')));
  const named = edit(await lost.encrypt(dave, 'disguised'), { identityKey: Buffer.from(fresh.identity.pubKey) });
  const disguised = await outcome(dave.decrypt(lost, named));
  return [
    ['a pinned name: the message of another identity is read', forged.value === 'it is me'],
    ['only an answer is refused, as the identity changed', answer.error?.message === 'Identity key changed'],
    ['no trust on first use: the message of an unknown identity is read', unknown.value === 'hello'],
    ['a replaced identity goes on with what it sends on a session never answered', replaced.value === 'from the lost phone'],
    ['also when the outer identity is not that of the session', disguised.value === 'disguised'],
  ];
});
