#include "peer.h"

#include <string.h>

#include <curve.h>
#include <key_helper.h>
#include <protocol.h>
#include <ratchet.h>
#include <session_builder.h>
#include <session_cipher.h>
#include <session_pre_key.h>

#define SIGNED_PREKEY_ID 1

/* -- keys ------------------------------------------------------------------------------------------------------------- */

/** The bytes of a public key as it goes over the wire. */
static int spelled(const ec_public_key *key, uint8_t *bytes)
{
    signal_buffer *made = NULL;
    int result = ec_public_key_serialize(&made, key);
    if (result == 0 && signal_buffer_len(made) != 33)
        result = SG_ERR_INVALID_KEY;
    if (result == 0)
        memcpy(bytes, signal_buffer_data(made), 33);
    signal_buffer_free(made);
    return result;
}

/** The pair of a private key of 32 bytes. */
static int pair_of(const uint8_t *private_key, ec_key_pair **pair)
{
    ec_private_key *secret = NULL;
    ec_public_key *open = NULL;
    int result = curve_decode_private_point(&secret, private_key, PRIVATE_BYTES, peer_context);
    if (result == 0)
        result = curve_generate_public_key(&open, secret);
    if (result == 0)
        result = ec_key_pair_create(pair, open, secret);
    SIGNAL_UNREF(secret);
    SIGNAL_UNREF(open);
    return result;
}

/** Registration id and the next id of a one-time prekey, as they are stored. */
struct numbers {
    uint32_t registration_id;
    uint32_t next_prekey_id;
};

static int keep_numbers(struct device *own, struct numbers numbers)
{
    return device_put(own, OWN_NUMBERS, "", (const uint8_t *)&numbers, sizeof numbers);
}

static struct numbers numbers_of(const struct device *own)
{
    struct numbers numbers = {0, 1};
    const struct row *row = device_row(own, OWN_NUMBERS, "");
    if (row != NULL && row->length == sizeof numbers)
        memcpy(&numbers, row->data, sizeof numbers);
    return numbers;
}

static int keep_identity(struct device *own, const ec_public_key *open, const ec_private_key *secret,
                         uint32_t registration_id)
{
    uint8_t both[33 + PRIVATE_BYTES];
    signal_buffer *made = NULL;
    int result = spelled(open, both);
    if (result == 0)
        result = ec_private_key_serialize(&made, secret);
    if (result == 0 && signal_buffer_len(made) != PRIVATE_BYTES)
        result = SG_ERR_INVALID_KEY;
    if (result == 0) {
        memcpy(both + 33, signal_buffer_data(made), PRIVATE_BYTES);
        result = device_put(own, OWN_IDENTITY, "", both, sizeof both);
    }
    if (result == 0)
        result = keep_numbers(own, (struct numbers){registration_id, 1});
    signal_buffer_bzero_free(made);
    return result;
}

const uint8_t *device_identity(const struct device *device)
{
    const struct row *own = device_row(device, OWN_IDENTITY, "");
    return own == NULL ? NULL : own->data;
}

int device_install(struct device *own)
{
    ratchet_identity_key_pair *identity = NULL;
    uint32_t registration_id = 0;
    int result = signal_protocol_key_helper_generate_identity_key_pair(&identity, peer_context);
    if (result == 0)
        result = signal_protocol_key_helper_generate_registration_id(&registration_id, 0, peer_context);
    if (result == 0)
        result = keep_identity(own, ratchet_identity_key_pair_get_public(identity),
                               ratchet_identity_key_pair_get_private(identity), registration_id);
    SIGNAL_UNREF(identity);
    return result;
}

int device_import(struct device *own, const uint8_t *private_key, uint32_t registration_id)
{
    ec_key_pair *pair = NULL;
    int result = pair_of(private_key, &pair);
    if (result == 0)
        result = keep_identity(own, ec_key_pair_get_public(pair), ec_key_pair_get_private(pair), registration_id);
    SIGNAL_UNREF(pair);
    return result;
}

int device_import_prekey(struct device *own, uint32_t id, const uint8_t *private_key, uint8_t *public_key)
{
    ec_key_pair *pair = NULL;
    session_pre_key *made = NULL;
    int result = pair_of(private_key, &pair);
    if (result == 0)
        result = session_pre_key_create(&made, id, pair);
    if (result == 0)
        result = signal_protocol_pre_key_store_key(own->store, made);
    if (result == 0)
        result = spelled(ec_key_pair_get_public(pair), public_key);
    SIGNAL_UNREF(made);
    SIGNAL_UNREF(pair);
    return result;
}

int device_import_signed_prekey(struct device *own, uint32_t id, const uint8_t *private_key, const uint8_t *signature,
                                size_t signature_length, uint8_t *public_key)
{
    ec_key_pair *pair = NULL;
    session_signed_pre_key *made = NULL;
    int result = pair_of(private_key, &pair);
    if (result == 0)
        result = session_signed_pre_key_create(&made, id, 0, pair, signature, signature_length);
    if (result == 0)
        result = signal_protocol_signed_pre_key_store_key(own->store, made);
    if (result == 0)
        result = spelled(ec_key_pair_get_public(pair), public_key);
    SIGNAL_UNREF(made);
    SIGNAL_UNREF(pair);
    return result;
}

/* -- what is offered --------------------------------------------------------------------------------------------------- */

/** The signed prekey; it is made where there is none. */
static int signed_prekey_of(struct device *own, session_signed_pre_key **found)
{
    if (signal_protocol_signed_pre_key_contains_key(own->store, SIGNED_PREKEY_ID) == 1)
        return signal_protocol_signed_pre_key_load_key(own->store, found, SIGNED_PREKEY_ID);
    ratchet_identity_key_pair *identity = NULL;
    int result = signal_protocol_identity_get_key_pair(own->store, &identity);
    if (result == 0)
        result = signal_protocol_key_helper_generate_signed_pre_key(found, identity, SIGNED_PREKEY_ID, 0, peer_context);
    if (result == 0)
        result = signal_protocol_signed_pre_key_store_key(own->store, *found);
    SIGNAL_UNREF(identity);
    return result;
}

/** One more one-time prekey. */
static int prekey_of(struct device *own, struct offer *offer)
{
    signal_protocol_key_helper_pre_key_list_node *list = NULL;
    struct numbers numbers = numbers_of(own);
    int result = signal_protocol_key_helper_generate_pre_keys(&list, numbers.next_prekey_id, 1, peer_context);
    if (result == 0) {
        session_pre_key *made = signal_protocol_key_helper_key_list_element(list);
        offer->prekey_id = session_pre_key_get_id(made);
        result = signal_protocol_pre_key_store_key(own->store, made);
        if (result == 0)
            result = spelled(ec_key_pair_get_public(session_pre_key_get_key_pair(made)), offer->prekey);
    }
    if (result == 0) {
        numbers.next_prekey_id = offer->prekey_id + 1;
        result = keep_numbers(own, numbers);
    }
    signal_protocol_key_helper_key_list_free(list);
    return result;
}

int device_offer(struct device *own, bool one_time, struct offer *offer)
{
    session_signed_pre_key *made = NULL;
    const uint8_t *identity = device_identity(own);
    if (identity == NULL)
        return SG_ERR_UNKNOWN;
    memset(offer, 0, sizeof *offer);
    memcpy(offer->identity_key, identity, sizeof offer->identity_key);
    offer->registration_id = numbers_of(own).registration_id;
    offer->device_id = (uint32_t)own->device_id;
    offer->has_prekey = one_time;
    int result = signed_prekey_of(own, &made);
    if (result == 0 && session_signed_pre_key_get_signature_len(made) != sizeof offer->signature)
        result = SG_ERR_UNKNOWN;
    if (result == 0) {
        offer->signed_prekey_id = session_signed_pre_key_get_id(made);
        memcpy(offer->signature, session_signed_pre_key_get_signature(made), sizeof offer->signature);
        result = spelled(ec_key_pair_get_public(session_signed_pre_key_get_key_pair(made)), offer->signed_prekey);
    }
    if (result == 0 && one_time)
        result = prekey_of(own, offer);
    SIGNAL_UNREF(made);
    return result;
}

/* -- sessions ---------------------------------------------------------------------------------------------------------- */

int device_establish(struct device *own, const struct device *peer, const struct given_offer *offer)
{
    ec_public_key *identity = NULL, *signed_prekey = NULL, *prekey = NULL;
    session_pre_key_bundle *bundle = NULL;
    session_builder *builder = NULL;
    signal_protocol_address address = device_address(peer);
    int result = curve_decode_point(&identity, offer->identity_key, offer->identity_key_length, peer_context);
    if (result == 0)
        result = curve_decode_point(&signed_prekey, offer->signed_prekey, offer->signed_prekey_length, peer_context);
    if (result == 0 && offer->prekey != NULL)
        result = curve_decode_point(&prekey, offer->prekey, offer->prekey_length, peer_context);
    if (result == 0)
        result = session_pre_key_bundle_create(&bundle, offer->registration_id, offer->device_id, offer->prekey_id, prekey,
                                               offer->signed_prekey_id, signed_prekey, offer->signature,
                                               offer->signature_length, identity);
    if (result == 0)
        result = session_builder_create(&builder, own->store, &address, peer_context);
    if (result == 0)
        result = session_builder_process_pre_key_bundle(builder, bundle);
    session_builder_free(builder);
    SIGNAL_UNREF(bundle);
    SIGNAL_UNREF(prekey);
    SIGNAL_UNREF(signed_prekey);
    SIGNAL_UNREF(identity);
    return result;
}

int device_encrypt(struct device *own, const struct device *peer, const uint8_t *text, size_t length, bool *prekey,
                   signal_buffer **message)
{
    session_cipher *cipher = NULL;
    ciphertext_message *made = NULL;
    signal_protocol_address address = device_address(peer);
    int result = session_cipher_create(&cipher, own->store, &address, peer_context);
    if (result == 0)
        result = session_cipher_encrypt(cipher, text, length, &made);
    if (result == 0) {
        *prekey = ciphertext_message_get_type(made) == CIPHERTEXT_PREKEY_TYPE;
        *message = signal_buffer_copy(ciphertext_message_get_serialized(made));
        result = *message == NULL ? SG_ERR_NOMEM : 0;
    }
    SIGNAL_UNREF(made);
    session_cipher_free(cipher);
    return result;
}

int device_decrypt(struct device *own, const struct device *peer, bool prekey, const uint8_t *data, size_t length,
                   signal_buffer **text)
{
    session_cipher *cipher = NULL;
    pre_key_signal_message *first = NULL;
    signal_message *later = NULL;
    /* The peer keeps the address by its pointer. */
    signal_protocol_address address = device_address(peer);
    int result = session_cipher_create(&cipher, own->store, &address, peer_context);
    if (result == 0 && prekey) {
        result = pre_key_signal_message_deserialize(&first, data, length, peer_context);
        if (result == 0)
            result = session_cipher_decrypt_pre_key_signal_message(cipher, first, NULL, text);
    } else if (result == 0) {
        result = signal_message_deserialize(&later, data, length, peer_context);
        if (result == 0)
            result = session_cipher_decrypt_signal_message(cipher, later, NULL, text);
    }
    SIGNAL_UNREF(first);
    SIGNAL_UNREF(later);
    session_cipher_free(cipher);
    return result;
}
