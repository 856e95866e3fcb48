/* The verbs of sessions. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/** A new party in this place, with an identity that is drawn, or with the given one. */
static json_t *install(int slot, const char *name, int32_t device_id, bool trusts, const uint8_t *identity,
                       uint32_t registration_id)
{
    struct device *made = device_make(name, device_id);
    if (made == NULL)
        return fail(INTERNAL, "the party could not be made");
    made->trust_on_first_use = trusts;
    int result = identity == NULL ? device_install(made) : device_import(made, identity, registration_id);
    if (result != 0) {
        device_free(made);
        return refused(result);
    }
    device_free(parties[slot]);
    parties[slot] = made;
    return json_pack("{s:o}", "identity_key", hex_of(device_identity(made), 33));
}

json_t *create(json_t *params)
{
    int slot = slot_of(params), trusts = flag_of(params, "trust_on_first_use");
    int64_t device_id = number_of(params, "device_id", INT32_MAX);
    const char *name = json_string_value(json_object_get(params, "name"));
    if (slot < 0 || device_id < 0 || trusts < 0 || name == NULL || strlen(name) > 100)
        return fail(BAD_PARAMS, "party, name, device_id and trust_on_first_use were expected");
    return install(slot, name, (int32_t)device_id, trusts, NULL, 0);
}

json_t *reinstall(json_t *params)
{
    struct device *old = party_of(params, "party");
    return old == NULL ? NULL : install(slot_of(params), old->name, old->device_id, old->trust_on_first_use, NULL, 0);
}

json_t *bundle(json_t *params)
{
    struct offer offer;
    struct device *own = party_of(params, "party");
    int one_time = flag_of(params, "one_time");
    if (own == NULL || one_time < 0)
        return NULL;
    int result = device_offer(own, one_time, &offer);
    if (result != 0)
        return refused(result);
    return json_pack("{s:I, s:I, s:o, s:I, s:o, s:o, s:o, s:o}",
                     "registration_id", (json_int_t)offer.registration_id,
                     "device_id", (json_int_t)offer.device_id,
                     "identity_key", hex_of(offer.identity_key, sizeof offer.identity_key),
                     "signed_prekey_id", (json_int_t)offer.signed_prekey_id,
                     "signed_prekey", hex_of(offer.signed_prekey, sizeof offer.signed_prekey),
                     "signature", hex_of(offer.signature, sizeof offer.signature),
                     "prekey_id", offer.has_prekey ? json_integer(offer.prekey_id) : json_null(),
                     "prekey", offer.has_prekey ? hex_of(offer.prekey, sizeof offer.prekey) : json_null());
}

json_t *establish(json_t *params)
{
    json_t *given = json_object_get(params, "bundle");
    struct device *own = party_of(params, "party"), *peer = party_of(params, "peer");
    if (own == NULL || peer == NULL)
        return NULL;
    struct given_offer offer = {0};
    bool has_prekey = !json_is_null(json_object_get(given, "prekey_id"));
    int64_t registration_id = number_of(given, "registration_id", UINT32_MAX);
    int64_t device_id = number_of(given, "device_id", INT32_MAX);
    int64_t signed_prekey_id = number_of(given, "signed_prekey_id", UINT32_MAX);
    int64_t prekey_id = has_prekey ? number_of(given, "prekey_id", UINT32_MAX) : 0;
    if (registration_id < 0 || device_id < 0 || signed_prekey_id < 0 || prekey_id < 0)
        return NULL;
    offer.registration_id = (uint32_t)registration_id;
    offer.device_id = (int)device_id;
    offer.signed_prekey_id = (uint32_t)signed_prekey_id;
    offer.prekey_id = (uint32_t)prekey_id;
    uint8_t *identity = bytes_of(given, "identity_key", &offer.identity_key_length);
    uint8_t *signed_prekey = bytes_of(given, "signed_prekey", &offer.signed_prekey_length);
    uint8_t *signature = bytes_of(given, "signature", &offer.signature_length);
    uint8_t *prekey = has_prekey ? bytes_of(given, "prekey", &offer.prekey_length) : NULL;
    json_t *done = NULL;
    if (identity != NULL && signed_prekey != NULL && signature != NULL && (prekey != NULL || !has_prekey)) {
        offer.identity_key = identity;
        offer.signed_prekey = signed_prekey;
        offer.signature = signature;
        offer.prekey = prekey;
        int result = device_establish(own, peer, &offer);
        done = result == 0 ? json_object() : refused(result);
    }
    free(identity);
    free(signed_prekey);
    free(signature);
    free(prekey);
    return done;
}

json_t *encrypt(json_t *params)
{
    size_t length;
    bool prekey = false;
    signal_buffer *made = NULL;
    struct device *own = party_of(params, "party"), *peer = party_of(params, "peer");
    if (own == NULL || peer == NULL)
        return NULL;
    uint8_t *text = bytes_of(params, "plaintext", &length);
    if (text == NULL)
        return NULL;
    int result = device_encrypt(own, peer, text, length, &prekey, &made);
    free(text);
    if (result != 0)
        return refused(result);
    json_t *message = handed_out("data", made);
    json_object_set_new(message, "kind", json_string(prekey ? "prekey" : "signal"));
    return message;
}

json_t *decrypt(json_t *params)
{
    size_t length;
    signal_buffer *text = NULL;
    struct device *own = party_of(params, "party"), *peer = party_of(params, "peer");
    const char *kind = json_string_value(json_object_get(params, "kind"));
    if (own == NULL || peer == NULL)
        return NULL;
    if (kind == NULL || (strcmp(kind, "prekey") != 0 && strcmp(kind, "signal") != 0))
        return fail(BAD_PARAMS, "kind: prekey or signal was expected");
    uint8_t *data = bytes_of(params, "data", &length);
    if (data == NULL)
        return NULL;
    int result = device_decrypt(own, peer, strcmp(kind, "prekey") == 0, data, length, &text);
    free(data);
    return result == 0 ? handed_out("plaintext", text) : refused(result);
}

json_t *approve(json_t *params)
{
    size_t length;
    struct device *own = party_of(params, "party"), *peer = party_of(params, "peer");
    if (own == NULL || peer == NULL)
        return NULL;
    uint8_t *identity = bytes_of(params, "identity_key", &length);
    if (identity == NULL)
        return NULL;
    int result = device_put(own, PIN, peer->name, identity, length);
    free(identity);
    return result == 0 ? json_object() : fail(INTERNAL, "the identity could not be pinned");
}

json_t *secrets(json_t *params)
{
    const struct device *own = party_of(params, "party");
    if (own == NULL)
        return NULL;
    json_t *found = json_array();
    for (const struct row *row = own->rows; row != NULL; row = row->next) {
        if (row->kind == SESSION)
            look_for_secrets(row->data, row->length, found);
    }
    return json_pack("{s:o}", "secrets", found);
}

/* -- for vectors: keys that are put in ---------------------------------------------------------------------------------- */

json_t *import_party(json_t *params)
{
    int slot = slot_of(params), trusts = flag_of(params, "trust_on_first_use");
    int64_t device_id = number_of(params, "device_id", INT32_MAX);
    int64_t registration_id = number_of(params, "registration_id", UINT32_MAX);
    const char *name = json_string_value(json_object_get(params, "name"));
    if (slot < 0 || device_id < 0 || registration_id < 0 || trusts < 0 || name == NULL || strlen(name) > 100)
        return fail(BAD_PARAMS, "party, name, device_id, trust_on_first_use and registration_id were expected");
    uint8_t *identity = bytes_exactly(params, "identity", PRIVATE_BYTES);
    if (identity == NULL)
        return NULL;
    json_t *made = install(slot, name, (int32_t)device_id, trusts, identity, (uint32_t)registration_id);
    free(identity);
    return made;
}

json_t *import_signed_prekey(json_t *params)
{
    size_t length;
    uint8_t open[33];
    struct device *own = party_of(params, "party");
    int64_t id = number_of(params, "id", UINT32_MAX);
    if (own == NULL || id < 0)
        return NULL;
    uint8_t *secret = bytes_exactly(params, "private", PRIVATE_BYTES);
    uint8_t *signature = secret == NULL ? NULL : bytes_of(params, "signature", &length);
    json_t *done = NULL;
    if (signature != NULL) {
        int result = device_import_signed_prekey(own, (uint32_t)id, secret, signature, length, open);
        done = result == 0 ? json_pack("{s:o}", "public_key", hex_of(open, sizeof open)) : refused(result);
    }
    free(secret);
    free(signature);
    return done;
}

json_t *import_prekey(json_t *params)
{
    uint8_t open[33];
    struct device *own = party_of(params, "party");
    int64_t id = number_of(params, "id", UINT32_MAX);
    if (own == NULL || id < 0)
        return NULL;
    uint8_t *secret = bytes_exactly(params, "private", PRIVATE_BYTES);
    if (secret == NULL)
        return NULL;
    int result = device_import_prekey(own, (uint32_t)id, secret, open);
    free(secret);
    return result == 0 ? json_pack("{s:o}", "public_key", hex_of(open, sizeof open)) : refused(result);
}

json_t *inject_keys(json_t *params)
{
    uint8_t keys[16][PRIVATE_BYTES];
    json_t *given = json_object_get(params, "private");
    size_t count = json_array_size(given);
    if (party_of(params, "party") == NULL)
        return NULL;
    if (!json_is_array(given) || count > sizeof keys / sizeof *keys)
        return fail(BAD_PARAMS, "private: a list of at most 16 keys was expected");
    for (size_t at = 0; at < count; at++) {
        json_t *one = json_pack("{s:O}", "key", json_array_get(given, at));
        uint8_t *key = bytes_exactly(one, "key", PRIVATE_BYTES);
        json_decref(one);
        if (key == NULL)
            return NULL;
        memcpy(keys[at], key, PRIVATE_BYTES);
        free(key);
    }
    peer_inject(keys[0], count);
    return json_object();
}
