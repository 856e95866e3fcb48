/*
 * What the driver and the findings share: libsignal-protocol-c 2.3.3 with OpenSSL for its cryptography, and a device
 * with a store for sender keys. The peer is used through its public API only.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <signal_protocol.h>

/** A record of one sender's chains in one group, at rest: bytes, and nothing but bytes. */
struct record {
    struct record *next;
    char *group;
    char *sender;
    int32_t device_id;
    uint8_t *data;
    size_t length;
};

/** One device. */
struct device {
    char *name;
    int32_t device_id;
    struct record *records;
    /** Whether the last operation stored something. */
    bool stored;
    /** The peer's handle on this store. */
    signal_protocol_store_context *store;
};

/** Chain steps and key derivations since it was last set to 0: HMACs over the byte 2, first blocks of an HKDF. */
extern unsigned long peer_work;

/** What the peer logged last, as text that ends with a zero byte. */
extern char peer_words[256];

/** The peer's context, once it was started. */
extern signal_context *peer_context;

/** AES-256-CBC with PKCS#7. Returns 0, or an error code of the peer. */
int peer_encrypt(signal_buffer **output, const uint8_t *key, const uint8_t *iv, const uint8_t *data, size_t length);

/** Start the peer. Returns 0, or one of its error codes. */
int peer_start(void);
void peer_stop(void);

/** A device without any records. NULL: there is no memory, or the peer refused. */
struct device *device_make(const char *name, int32_t device_id);
/** Open the peer anew over what is at rest. Returns 0, or an error code. */
int device_reopen(struct device *device);
void device_free(struct device *device);
/** Let the record of a device's own chains in a group go. */
void device_drop_own(struct device *device, const char *group);

/*
 * The operations of a member. Each returns 0, or an error code of the peer; what they hand out is freed by the caller with
 * signal_buffer_free.
 */
int member_create(struct device *own, const char *group, signal_buffer **distribution);
int member_join(struct device *own, const struct device *sender, const char *group, const uint8_t *data, size_t length);
int member_encrypt(struct device *own, const char *group, const uint8_t *text, size_t length, signal_buffer **message);
int member_decrypt(struct device *own, const struct device *sender, const char *group, const uint8_t *data,
                   size_t length, signal_buffer **text);

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

#endif
