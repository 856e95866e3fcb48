/* Findings in sessions of message version 3. */
#include "findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curve.h>
#include <protocol.h>

/** Sessions that are held beside the current one, and the largest jump. */
#define ARCHIVED 40
#define JUMP 2000

/* -- two devices, and what goes between them --------------------------------------------------------------------------- */

static struct given_offer all_of(const struct offer *offer)
{
    struct given_offer given = {
        .registration_id = offer->registration_id,
        .device_id = (int)offer->device_id,
        .identity_key = offer->identity_key,
        .identity_key_length = sizeof offer->identity_key,
        .signed_prekey_id = offer->signed_prekey_id,
        .signed_prekey = offer->signed_prekey,
        .signed_prekey_length = sizeof offer->signed_prekey,
        .signature = offer->signature,
        .signature_length = sizeof offer->signature,
        .prekey_id = offer->prekey_id,
        .prekey = offer->has_prekey ? offer->prekey : NULL,
        .prekey_length = sizeof offer->prekey,
    };
    return given;
}

static void establish(struct device *own, const struct device *peer, const struct offer *offer)
{
    struct given_offer given = all_of(offer);
    must(device_establish(own, peer, &given), "a session");
}

/** Own begins a session with the peer, whose offer is new. */
static void begin_session(struct device *own, struct device *peer, bool one_time)
{
    struct offer offer;
    must(device_offer(peer, one_time, &offer), "an offer");
    establish(own, peer, &offer);
}

static signal_buffer *sealed(struct device *own, const struct device *peer, const char *text)
{
    bool prekey;
    signal_buffer *made = NULL;
    must(device_encrypt(own, peer, (const uint8_t *)text, strlen(text), &prekey, &made), "a message");
    return made;
}

static bool opens(struct device *own, const struct device *peer, bool prekey, signal_buffer *data)
{
    signal_buffer *text = NULL;
    peer_words[0] = '\0';
    peer_work = 0;
    int result = device_decrypt(own, peer, prekey, signal_buffer_data(data), signal_buffer_len(data), &text);
    signal_buffer_free(text);
    return result == 0;
}

/** As first messages are, and then the buffer is freed. */
static bool opens_first(struct device *own, const struct device *peer, signal_buffer *data)
{
    bool read = opens(own, peer, true, data);
    signal_buffer_free(data);
    return read;
}

static bool says(const char *words)
{
    return strstr(peer_words, words) != NULL;
}

/** Both have read something of the other. */
static void talk(struct device *own, struct device *peer)
{
    begin_session(own, peer, true);
    if (!opens_first(peer, own, sealed(own, peer, "hello")))
        must(SG_ERR_UNKNOWN, "a first message");
    signal_buffer *answer = sealed(peer, own, "hello yourself");
    if (!opens(own, peer, false, answer))
        must(SG_ERR_UNKNOWN, "an answer");
    signal_buffer_free(answer);
}

/** Where a field of bytes begins in a first message; its number is known from the wire format. */
static uint8_t *bytes_at(signal_buffer *message, uint64_t number, size_t *length)
{
    struct field field;
    const uint8_t *at = signal_buffer_data(message) + 1, *end = signal_buffer_data(message) + signal_buffer_len(message);
    while (field_next(&at, end, &field)) {
        if (field.number == number && field.data != NULL) {
            *length = field.length;
            return signal_buffer_data(message) + (field.data - signal_buffer_data(message));
        }
    }
    must(SG_ERR_INVAL, "a field of a message");
    return NULL;
}

/** Fields of a first message. */
enum { BASE_KEY = 2, IDENTITY_KEY = 3, INNER = 4 };

/* -- the findings ------------------------------------------------------------------------------------------------------- */

/*
 * Attacker: none, the process ends at that moment; for the second session the server, which hands a prekey out twice. Three
 * calls of the store, with nothing that binds them: the pin, the session, the prekey that goes.
 */
void atm_01_torn_update(void)
{
    struct offer offer;
    begin();
    must(device_offer(bob, true, &offer), "an offer");
    establish(alice, bob, &offer);
    establish(carol, bob, &offer);
    signal_buffer *first = sealed(alice, bob, "text");
    bool pinned = false, torn = false;
    for (int at = 0; at < HANDED_OUT && !torn; at++) {
        bob->crash_at = at;
        bob->calls = 0;
        if (!opens(bob, alice, true, first) || !bob->struck)
            break;
        /* What was durable when the process ended is what is there when it starts again. */
        rows_free(bob->rows);
        bob->rows = bob->before;
        bob->before = NULL;
        bob->struck = false;
        bob->crash_at = -1;
        bool session = device_row(bob, SESSION, "alice.1") != NULL;
        pinned = pinned || (device_row(bob, PIN, "alice") != NULL && !session);
        torn = session && device_row(bob, PREKEY, "0000000001") != NULL;
    }
    bob->crash_at = -1;
    seen("a crash between two calls leaves the identity pinned and no session", pinned);
    seen("a crash between two others leaves the session, and the prekey", torn);
    seen("the message is refused as one that was read, though nobody has its text",
         !opens(bob, alice, true, first) && says("old counter"));
    seen("the prekey serves a second session", opens_first(bob, carol, sealed(carol, bob, "text")));
    signal_buffer_free(first);
}

/*
 * Attacker: network, under the peer's name. A message whose ratchet key no session knows is tried on all of them, and each
 * takes a ratchet step and as many chain steps as the counter asks for before the code at its end is looked at.
 */
void bnd_01_work_per_message(void)
{
    begin();
    for (int at = 0; at <= ARCHIVED; at++) {
        begin_session(alice, bob, true);
        if (!opens_first(bob, alice, sealed(alice, bob, "text")))
            must(SG_ERR_UNKNOWN, "a first message");
    }
    static const uint8_t nothing[32] = {0};
    ec_key_pair *pair = NULL;
    ec_public_key *from = NULL, *to = NULL;
    signal_message *made = NULL;
    must(curve_generate_key_pair(peer_context, &pair), "a key pair");
    must(curve_decode_point(&from, device_identity(alice), 33, peer_context), "an identity");
    must(curve_decode_point(&to, device_identity(bob), 33, peer_context), "an identity");
    must(signal_message_create(&made, 3, nothing, sizeof nothing, ec_key_pair_get_public(pair), JUMP, 0, nothing, 16, from, to,
                               peer_context),
         "a forged message");
    signal_buffer *forged = ciphertext_message_get_serialized((ciphertext_message *)made);
    seen("a forged message is refused for its MAC", !opens(bob, alice, false, forged) && says("mac not verified"));
    printf("  %zu bytes, %lu derivations with %d sessions\n", signal_buffer_len(forged), peer_work, ARCHIVED + 1);
    seen("over 160,000 derivations", peer_work > 160000);
    SIGNAL_UNREF(made);
    SIGNAL_UNREF(from);
    SIGNAL_UNREF(to);
    SIGNAL_UNREF(pair);
}

/*
 * Attacker: network, with a recorded first message that names no one-time prekey. Its base key is remembered in its session
 * and nowhere else, and of sessions 40 are kept beside the current one.
 */
void ctr_06_forgotten_base_key(void)
{
    begin();
    begin_session(alice, bob, false);
    signal_buffer *first = sealed(alice, bob, "pay 10"), *later = sealed(alice, bob, "pay 20");
    seen("it is read", opens(bob, alice, true, first));
    seen("a second time it is refused", !opens(bob, alice, true, first));
    seen("under a name that is not pinned yet it is read at once", opens(bob, carol, true, first));
    seen("a later one is read in the first session", opens(bob, alice, true, later));
    seen("the key that was kept in the second session reads it again", opens(bob, carol, true, later));
    for (int at = 0; at <= ARCHIVED; at++) {
        begin_session(alice, bob, true);
        if (!opens_first(bob, alice, sealed(alice, bob, "text")))
            must(SG_ERR_UNKNOWN, "a first message");
    }
    seen("once 41 more sessions came, it is read again", opens(bob, alice, true, first));
    signal_buffer_free(first);
    signal_buffer_free(later);
}

/*
 * Attacker: network, with a recorded first message that names no one-time prekey. The highest bit of a key does not count in
 * an agreement, but does where base keys are compared: with that bit set the message begins a session of its own.
 */
void ctr_06_respelled_base_key(void)
{
    size_t length;
    begin();
    begin_session(alice, bob, false);
    signal_buffer *first = sealed(alice, bob, "pay 10");
    seen("it is read", opens(bob, alice, true, first));
    seen("a second time it is refused", !opens(bob, alice, true, first));
    uint8_t *base = bytes_at(first, BASE_KEY, &length);
    base[length - 1] |= 0x80;
    seen("with another spelling of its base key it is read again", opens(bob, alice, true, first));
    signal_buffer_free(first);
}

/*
 * Attacker: the device that was replaced, or network with a message that it withheld. A first message of a base key that is
 * known is read in its session, whatever identity stands in it; the trust question is about the one that stands there.
 */
void idc_04_outer_identity(void)
{
    size_t length;
    begin();
    begin_session(alice, bob, true);
    signal_buffer *first = sealed(alice, bob, "one"), *second = sealed(alice, bob, "two");
    seen("the first message is read", opens(bob, alice, true, first));
    /* Alice has a new identity, and bob's user approves of it: carol's stands for it here. */
    must(device_put(bob, PIN, "alice", device_identity(carol), 33), "alice's identity replaced");
    seen("one of the former identity is refused", !opens(bob, alice, true, second));
    memcpy(bytes_at(second, IDENTITY_KEY, &length), device_identity(carol), 33);
    seen("with the new identity written outside, it is read in the session of the former one", opens(bob, alice, true, second));
    signal_buffer_free(first);
    signal_buffer_free(second);
}

/*
 * Attacker: none; whoever held the former identity. Nobody asks about the identity of a session that is there, neither when
 * something is sent in it nor when something is read; the application would have to let the session go itself.
 */
void idc_08_not_asked_again(void)
{
    begin();
    talk(alice, bob);
    signal_buffer *late = sealed(alice, bob, "late");
    must(device_put(bob, PIN, "alice", device_identity(carol), 33), "alice's identity replaced");
    signal_buffer *answer = sealed(bob, alice, "for whom?");
    seen("what is sent then goes to the former identity", opens(alice, bob, false, answer));
    seen("what the former identity sends is read", opens(bob, alice, false, late));
    signal_buffer_free(late);
    signal_buffer_free(answer);
}

/*
 * Attacker: server, with an identity of its own for a name that is not pinned yet; a peer. A key of small order makes every
 * agreement with it zero, so that both sides have it without any private key.
 */
void idc_05_all_zero_secrets(void)
{
    struct offer offer;
    signal_buffer *signature = NULL;
    ec_private_key *identity = NULL;
    begin();
    must(device_offer(bob, false, &offer), "an offer");
    memset(offer.signed_prekey, 0, sizeof offer.signed_prekey);
    offer.signed_prekey[0] = 5;
    const struct row *own = device_row(bob, OWN_IDENTITY, "");
    must(curve_decode_private_point(&identity, own->data + 33, PRIVATE_BYTES, peer_context), "a private key");
    must(curve_calculate_signature(peer_context, &signature, identity, offer.signed_prekey, sizeof offer.signed_prekey),
         "a signature");
    memcpy(offer.signature, signal_buffer_data(signature), sizeof offer.signature);
    struct given_offer given = all_of(&offer);
    seen("a bundle with a signed prekey of zeros is taken", device_establish(alice, bob, &given) == 0);
    bool prekey;
    signal_buffer *made = NULL;
    seen("a message is sent on it", device_encrypt(alice, bob, (const uint8_t *)"text", 4, &prekey, &made) == 0);
    uint8_t *secret = NULL;
    ec_public_key *zero = NULL;
    must(curve_decode_point(&zero, offer.signed_prekey, sizeof offer.signed_prekey, peer_context), "a key of zeros");
    int length = curve_calculate_agreement(&secret, zero, identity);
    bool all_zero = length == 32;
    for (int at = 0; at < length; at++)
        all_zero = all_zero && secret[at] == 0;
    seen("an agreement with it is zero, and no error", all_zero);
    free(secret);
    signal_buffer_free(made);
    signal_buffer_free(signature);
    SIGNAL_UNREF(zero);
    SIGNAL_UNREF(identity);
}

/*
 * Attacker: network, before the first true message comes. The identity that stands in a first message is handed to
 * save_identity before anything of the message was authenticated.
 */
void idc_06_pinned_too_early(void)
{
    size_t length;
    begin();
    begin_session(alice, bob, false);
    signal_buffer *first = sealed(alice, bob, "text"), *forged = signal_buffer_copy(first);
    memcpy(bytes_at(forged, IDENTITY_KEY, &length), device_identity(carol), 33);
    seen("a forged first message is refused for its MAC", !opens(bob, alice, true, forged) && says("mac not verified"));
    const struct row *pin = device_row(bob, PIN, "alice");
    seen("the identity in it is pinned", pin != NULL && memcmp(pin->data, device_identity(carol), 33) == 0);
    seen("the true message is refused", !opens(bob, alice, true, first));
    signal_buffer_free(first);
    signal_buffer_free(forged);
}

/*
 * Attacker: network. The outer fields of a first message are under no MAC: repeated and overlong ones are read. Those of the
 * message inside are under the sender's own.
 */
void par_02_lenient_parser(void)
{
    begin();
    begin_session(alice, bob, false);
    signal_buffer *first = sealed(alice, bob, "text");
    size_t length = signal_buffer_len(first);
    /* Field 5, the registration id: a second one, of five bytes where one would do. */
    static const uint8_t again[] = {0x28, 0x81, 0x80, 0x80, 0x80, 0x00};
    uint8_t *longer = malloc(length + sizeof again);
    must(longer == NULL ? SG_ERR_NOMEM : 0, "memory");
    memcpy(longer, signal_buffer_data(first), length);
    memcpy(longer + length, again, sizeof again);
    signal_buffer *spelled = signal_buffer_create(longer, length + sizeof again);
    seen("with a repeated field of an overlong varint it is read", opens(bob, alice, true, spelled));
    free(longer);
    signal_buffer_free(first);
    signal_buffer_free(spelled);
}

/* Attacker: network, under the peer's name. Whatever its length, a message is copied and run through its MAC. */
void par_03_large_message(void)
{
    const size_t length = 16u * 1024 * 1024;
    begin();
    talk(alice, bob);
    char *text = malloc(length + 1);
    must(text == NULL ? SG_ERR_NOMEM : 0, "memory");
    memset(text, 'x', length);
    text[length] = '\0';
    signal_buffer *message = sealed(alice, bob, text);
    signal_buffer_data(message)[signal_buffer_len(message) - 1] ^= 1;
    seen("a forged one of 16 MiB is refused for its MAC, not for its size",
         !opens(bob, alice, false, message) && says("mac not verified"));
    signal_buffer_data(message)[signal_buffer_len(message) - 1] ^= 1;
    seen("a true one is read", opens(bob, alice, false, message));
    free(text);
    signal_buffer_free(message);
}
