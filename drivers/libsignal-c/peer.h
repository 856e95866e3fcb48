/*
 * What the driver and the findings share: libsignal-protocol-c 2.3.3 with OpenSSL for its cryptography, and a device
 * with a store. The peer is used through its public API only.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <signal_protocol.h>

/* -- the peer (crypto.c) --------------------------------------------------------------------------------------------- */

/** The peer's context, once it was started. */
extern signal_context *peer_context;

/** Chain steps and key derivations since it was last set to 0: HMACs over the byte 2, first blocks of an HKDF. */
extern unsigned long peer_work;

/** What the peer logged since it was last emptied, and what the store and the cipher noted: texts, with "; " between. */
extern char peer_words[8192];

/** Bytes of a private key. */
#define PRIVATE_BYTES 32

/** Start the peer. Returns 0, or one of its error codes. */
int peer_start(void);
void peer_stop(void);

/** Put a text among the words. */
void peer_note(const char *text);

/** AES-256-CBC with PKCS#7. Returns 0, or an error code of the peer. */
int peer_encrypt(signal_buffer **output, const uint8_t *key, const uint8_t *iv, const uint8_t *data, size_t length);

/** Private keys that the peer draws next, in order, as copies; in place of those that were left. False: too many. */
bool peer_inject(const uint8_t *keys, size_t count);

/* -- a device and its store (store.c) --------------------------------------------------------------------------------- */

/** What a row of the store holds. */
enum kind {
    OWN_IDENTITY, /* the private key, after the public one */
    OWN_NUMBERS,  /* the registration id, and the next id of a one-time prekey */
    PIN,          /* the identity of a name */
    SIGNED_PREKEY,
    PREKEY,
    SESSION,
    SENDER_KEY,
};

/** One row, at rest: bytes, and nothing but bytes. */
struct row {
    struct row *next;
    enum kind kind;
    char *key;
    uint8_t *data;
    size_t length;
};

/** One device. */
struct device {
    char *name;
    int32_t device_id;
    bool trust_on_first_use;
    /** Sorted by kind and key. */
    struct row *rows;
    /** Whether the last operation stored something. */
    bool stored;
    /** Its own chain in this group is not handed out, so that the peer begins a new one. NULL: none such. */
    const char *renewed;
    /** A crash is due before this call of the store; -1: none. */
    int crash_at;
    /** Calls of the store since the crash became due. */
    int calls;
    /** It was reached, and these were the rows. */
    bool struck;
    struct row *before;
    /** It crashed, and was not restarted. */
    bool crashed;
    /** The peer's handle on this store. */
    signal_protocol_store_context *store;
};

/** The crash point behind everything. */
#define HANDED_OUT 15

/** A device with a store of its own and nothing in it. NULL: there is no memory, or the peer refused. */
struct device *device_make(const char *name, int32_t device_id);
/** Open the peer anew over what is at rest. Returns 0, or an error code. */
int device_reopen(struct device *device);
void device_free(struct device *device);

/** The row of this kind and key; NULL: there is none. */
struct row *device_row(const struct device *device, enum kind kind, const char *key);
/** Keep a row, in place of a former one. Returns 0, or an error code. */
int device_put(struct device *device, enum kind kind, const char *key, const uint8_t *data, size_t length);
/** Let a row go. Returns whether there was one. */
bool device_drop(struct device *device, enum kind kind, const char *key);

/** Rows that are freed with it. */
void rows_free(struct row *rows);

/** The peer's address of a device. */
signal_protocol_address device_address(const struct device *device);

/* -- what a device does: each returns 0, or an error code of the peer ------------------------------------------------- */
/* What is handed out is freed by the caller with signal_buffer_free.                                                     */

/* Groups (groups.c). */
int member_create(struct device *own, const char *group, signal_buffer **distribution);
int member_join(struct device *own, const struct device *sender, const char *group, const uint8_t *data, size_t length);
int member_encrypt(struct device *own, const char *group, const uint8_t *text, size_t length, signal_buffer **message);
int member_decrypt(struct device *own, const struct device *sender, const char *group, const uint8_t *data,
                   size_t length, signal_buffer **text);
/** Begin a new chain of the device's own. */
int member_rotate(struct device *own, const char *group);

/** What a device offers to whoever begins a session with it. Public keys are as they go over the wire. */
struct offer {
    uint32_t registration_id;
    uint32_t device_id;
    uint8_t identity_key[33];
    uint32_t signed_prekey_id;
    uint8_t signed_prekey[33];
    uint8_t signature[64];
    bool has_prekey;
    uint32_t prekey_id;
    uint8_t prekey[33];
};

/** An offer as it was given, of any lengths. */
struct given_offer {
    uint32_t registration_id;
    int device_id;
    const uint8_t *identity_key;
    size_t identity_key_length;
    uint32_t signed_prekey_id;
    const uint8_t *signed_prekey;
    size_t signed_prekey_length;
    const uint8_t *signature;
    size_t signature_length;
    uint32_t prekey_id;
    /** NULL: there is none. */
    const uint8_t *prekey;
    size_t prekey_length;
};

/* Sessions (sessions.c). */
/** Draw an identity and a registration id. */
int device_install(struct device *own);
/** Take these in place of drawn ones. */
int device_import(struct device *own, const uint8_t *private_key, uint32_t registration_id);
int device_import_prekey(struct device *own, uint32_t id, const uint8_t *private_key, uint8_t *public_key);
int device_import_signed_prekey(struct device *own, uint32_t id, const uint8_t *private_key, const uint8_t *signature,
                                size_t signature_length, uint8_t *public_key);
/** The identity key, 33 bytes; NULL: it has none. */
const uint8_t *device_identity(const struct device *device);
int device_offer(struct device *own, bool one_time, struct offer *offer);
int device_establish(struct device *own, const struct device *peer, const struct given_offer *offer);
int device_encrypt(struct device *own, const struct device *peer, const uint8_t *text, size_t length, bool *prekey,
                   signal_buffer **message);
int device_decrypt(struct device *own, const struct device *peer, bool prekey, const uint8_t *data, size_t length,
                   signal_buffer **text);

/* -- records, as far as they are looked at (records.c) ---------------------------------------------------------------- */

/** One field of a protobuf of varints and byte strings. */
struct field {
    uint64_t number;
    uint64_t value;
    /** NULL: it is a number. */
    const uint8_t *data;
    size_t length;
};

/** Read the field at `*at` and move `*at` behind it. False: there is none, or the bytes are no such protobuf. */
bool field_next(const uint8_t **at, const uint8_t *end, struct field *field);

/** What can be counted in the records of a device: of the peer, session, sender or chain that has most. */
struct counts {
    int archived;
    int chains;
    int kept_chain;
    int kept_session;
    int group_chains;
    int group_kept;
};
struct counts device_counts(const struct device *device);

#endif
