'use strict';
/* What `pawl store import --from node-libsignal` reads: one document, from whatever store an application has. */

const b64 = (bytes) => Buffer.from(bytes).toString('base64');
const pair = ({ pubKey, privKey }) => ({ pubKey: b64(pubKey), privKey: b64(privKey) });
const each = (entries, make) => Object.fromEntries([...entries].map(([key, value]) => [key, make(value)]));

/**
 * identity: a key pair; registrationId: a number; sessions: [["name.device", what SessionRecord.serialize() gave], ...];
 * preKeys: [[id, key pair], ...]; signedPreKeys: [[id, { keyPair, signature }], ...]; identities: [[name, key], ...].
 */
function exported({ identity, registrationId, sessions, preKeys, signedPreKeys, identities }) {
  return JSON.stringify({
    identity: pair(identity),
    registrationId,
    sessions: Object.fromEntries(sessions),
    preKeys: each(preKeys, pair),
    signedPreKeys: each(signedPreKeys, ({ keyPair, signature }) => ({ keyPair: pair(keyPair), signature: b64(signature) })),
    identities: each(identities, b64),
  });
}

module.exports = { exported };
