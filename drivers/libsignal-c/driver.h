/* What the parts of the driver share: the parties, the parameters of a verb and its result. */
#ifndef DRIVER_H
#define DRIVER_H

#include "peer.h"

#include <jansson.h>

#define MOST_PARTIES 16
#define SECRET_BYTES 32

enum { BAD_PARAMS = -32602, INTERNAL = -32603, REFUSED = -32000, CRASHED = -32001 };

/** Why the verb at hand has no result: a JSON-RPC error, and for a refusal our code for it. */
struct failure {
    int code;
    const char *refusal;
    char text[600];
};
extern struct failure failed;

extern struct device *parties[MOST_PARTIES];

/** A verb: its result, or NULL, and then `failed` says why. */
typedef json_t *verb_run(json_t *params);

/* -- parameters and results (params.c) -------------------------------------------------------------------------------- */

/** NULL, once `failed` has this. */
void *fail(int code, const char *text);
/** The peer refused: every error that it returns is a refusal, for it has no other way to say so. */
json_t *refused(int result);

json_t *hex_of(const uint8_t *data, size_t length);
/** `{name: the bytes}`; the buffer is freed. */
json_t *handed_out(const char *name, signal_buffer *data);

/** The bytes of a parameter in hex, to be freed by the caller; NULL: it has none, and `failed` says so. */
uint8_t *bytes_of(json_t *params, const char *name, size_t *length);
/** The same, of this length. */
uint8_t *bytes_exactly(json_t *params, const char *name, size_t length);
/** A number from 0 to `most`; -1: there is none, and `failed` says so. */
int64_t number_of(json_t *params, const char *name, int64_t most);
/** True or false; -1: it is neither, and `failed` says so. */
int flag_of(json_t *params, const char *name);
/** The group, by the hex of its distribution id. */
const char *group_of(json_t *params);
/** The number of a party that may be there or not; -1: it is none, and `failed` says so. */
int slot_of(json_t *params);
struct device *party_of(json_t *params, const char *name);

/** Add every byte string of 32 bytes, at any depth. */
void look_for_secrets(const uint8_t *data, size_t length, json_t *found);

/* -- verbs (session_verbs.c, group_verbs.c) --------------------------------------------------------------------------- */

verb_run create, reinstall, bundle, establish, encrypt, decrypt, approve, secrets;
verb_run import_party, import_signed_prekey, import_prekey, inject_keys;
verb_run group_create, group_join, group_encrypt, group_decrypt, group_rotate, group_secrets;

#endif
