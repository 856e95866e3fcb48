#include "peer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- rows ------------------------------------------------------------------------------------------------------------- */

static void row_free(struct row *row)
{
    free(row->key);
    free(row->data);
    free(row);
}

void rows_free(struct row *rows)
{
    for (struct row *next; rows != NULL; rows = next) {
        next = rows->next;
        row_free(rows);
    }
}

static struct row *row_make(enum kind kind, const char *key, const uint8_t *data, size_t length)
{
    struct row *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->kind = kind;
    made->key = malloc(strlen(key) + 1);
    made->data = malloc(length + 1);
    made->length = length;
    if (made->key == NULL || made->data == NULL) {
        row_free(made);
        return NULL;
    }
    strcpy(made->key, key);
    if (length > 0)
        memcpy(made->data, data, length);
    return made;
}

/** A copy of all rows. False: there is no memory. */
static bool rows_copy(const struct row *rows, struct row **copy)
{
    *copy = NULL;
    for (struct row **end = copy; rows != NULL; rows = rows->next, end = &(*end)->next) {
        *end = row_make(rows->kind, rows->key, rows->data, rows->length);
        if (*end == NULL) {
            rows_free(*copy);
            *copy = NULL;
            return false;
        }
    }
    return true;
}

/** Where the pointer to the row is, or would be. */
static struct row **place(struct device *device, enum kind kind, const char *key, bool *there)
{
    struct row **at = &device->rows;
    int order = 1;
    for (; *at != NULL; at = &(*at)->next) {
        order = (*at)->kind != kind ? ((*at)->kind < kind ? -1 : 1) : strcmp((*at)->key, key);
        if (order >= 0)
            break;
    }
    *there = *at != NULL && order == 0;
    return at;
}

struct row *device_row(const struct device *device, enum kind kind, const char *key)
{
    for (struct row *row = device->rows; row != NULL; row = row->next) {
        if (row->kind == kind && strcmp(row->key, key) == 0)
            return row;
    }
    return NULL;
}

int device_put(struct device *device, enum kind kind, const char *key, const uint8_t *data, size_t length)
{
    bool there;
    struct row **at = place(device, kind, key, &there);
    struct row *made = row_make(kind, key, data, length), *former = there ? *at : NULL;
    if (made == NULL)
        return SG_ERR_NOMEM;
    made->next = former != NULL ? former->next : *at;
    *at = made;
    if (former != NULL)
        row_free(former);
    device->stored = true;
    return 0;
}

bool device_drop(struct device *device, enum kind kind, const char *key)
{
    bool there;
    struct row **at = place(device, kind, key, &there);
    if (!there)
        return false;
    struct row *gone = *at;
    *at = gone->next;
    row_free(gone);
    device->stored = true;
    return true;
}

/* -- what the peer calls ---------------------------------------------------------------------------------------------- */

/** Every call of the store begins here: a crash can strike before it. Returns 0, or an error code. */
static int called(struct device *device)
{
    if (device->crash_at >= 0 && !device->struck && device->calls == device->crash_at) {
        if (!rows_copy(device->rows, &device->before))
            return SG_ERR_NOMEM;
        device->struck = true;
    }
    device->calls++;
    return 0;
}

/** Bytes of the key of a row: a group of 32 characters, a name of at most 100, a number. */
#define KEY_BYTES 192

/** The name as text. It comes with its length, and none is longer than the driver allows. */
static bool name_key(char *key, const char *name, size_t length)
{
    return snprintf(key, KEY_BYTES, "%.*s", (int)(length < KEY_BYTES ? length : KEY_BYTES), name) < KEY_BYTES;
}

static bool address_key(char *key, const signal_protocol_address *address)
{
    return snprintf(key, KEY_BYTES, "%.*s.%" PRId32, (int)address->name_len, address->name, address->device_id) < KEY_BYTES;
}

static bool sender_key_key(char *key, const signal_protocol_sender_key_name *name)
{
    return snprintf(key, KEY_BYTES, "%.*s %.*s.%" PRId32, (int)name->group_id_len, name->group_id,
                    (int)name->sender.name_len, name->sender.name, name->sender.device_id) < KEY_BYTES;
}

/** So that the order of the keys is that of the numbers. */
static void number_key(char *key, uint32_t id)
{
    snprintf(key, KEY_BYTES, "%010" PRIu32, id);
}

/** A copy of a row's bytes. Returns 1, 0 where there is no such row, or an error code. */
static int load(const struct device *device, enum kind kind, const char *key, signal_buffer **data)
{
    const struct row *found = device_row(device, kind, key);
    if (found == NULL)
        return 0;
    *data = signal_buffer_create(found->data, found->length);
    return *data == NULL ? SG_ERR_NOMEM : 1;
}

static int load_session(signal_buffer **record, signal_buffer **user_record, const signal_protocol_address *address,
                        void *user)
{
    char key[KEY_BYTES];
    (void)user_record;
    int result = called(user);
    if (result == 0)
        result = address_key(key, address) ? load(user, SESSION, key, record) : SG_ERR_INVAL;
    return result;
}

static int sub_devices(signal_int_list **devices, const char *name, size_t length, void *user)
{
    const struct device *device = user;
    int result = called(user), found = 0;
    signal_int_list *list = result == 0 ? signal_int_list_alloc() : NULL;
    if (list == NULL)
        return result != 0 ? result : SG_ERR_NOMEM;
    for (const struct row *row = device->rows; row != NULL; row = row->next) {
        const char *dot = strrchr(row->key, '.');
        if (row->kind != SESSION || dot == NULL || (size_t)(dot - row->key) != length || memcmp(row->key, name, length) != 0)
            continue;
        if (signal_int_list_push_back(list, atoi(dot + 1)) < 0) {
            signal_int_list_free(list);
            return SG_ERR_NOMEM;
        }
        found++;
    }
    *devices = list;
    return found;
}

static int store_session(const signal_protocol_address *address, uint8_t *record, size_t length, uint8_t *user_record,
                         size_t user_record_length, void *user)
{
    char key[KEY_BYTES];
    (void)user_record;
    (void)user_record_length;
    int result = called(user);
    if (result == 0)
        result = address_key(key, address) ? device_put(user, SESSION, key, record, length) : SG_ERR_INVAL;
    return result;
}

static int contains_session(const signal_protocol_address *address, void *user)
{
    char key[KEY_BYTES];
    int result = called(user);
    return result == 0 ? address_key(key, address) && device_row(user, SESSION, key) != NULL : result;
}

static int delete_session(const signal_protocol_address *address, void *user)
{
    char key[KEY_BYTES];
    int result = called(user);
    return result == 0 ? address_key(key, address) && device_drop(user, SESSION, key) : result;
}

static int delete_all_sessions(const char *name, size_t length, void *user)
{
    struct device *device = user;
    int result = called(user), gone = 0;
    if (result != 0)
        return result;
    for (struct row **at = &device->rows; *at != NULL;) {
        struct row *row = *at;
        const char *dot = strrchr(row->key, '.');
        if (row->kind == SESSION && dot != NULL && (size_t)(dot - row->key) == length && memcmp(row->key, name, length) == 0) {
            *at = row->next;
            row_free(row);
            device->stored = true;
            gone++;
        } else {
            at = &row->next;
        }
    }
    return gone;
}

/** A prekey of either kind; what was asked for and is not there is noted, for the peer's error does not tell which. */
static int load_key(struct device *device, enum kind kind, uint32_t id, signal_buffer **record)
{
    char key[KEY_BYTES];
    number_key(key, id);
    int result = called(device);
    if (result == 0)
        result = load(device, kind, key, record);
    if (result == 0)
        peer_note(kind == PREKEY ? "The store has no such prekey" : "The store has no such signed prekey");
    return result == 1 ? SG_SUCCESS : result == 0 ? SG_ERR_INVALID_KEY_ID : result;
}

static int store_key(struct device *device, enum kind kind, uint32_t id, const uint8_t *record, size_t length)
{
    char key[KEY_BYTES];
    number_key(key, id);
    int result = called(device);
    return result == 0 ? device_put(device, kind, key, record, length) : result;
}

static int contains_key(struct device *device, enum kind kind, uint32_t id)
{
    char key[KEY_BYTES];
    number_key(key, id);
    int result = called(device);
    return result == 0 ? device_row(device, kind, key) != NULL : result;
}

static int remove_key(struct device *device, enum kind kind, uint32_t id)
{
    char key[KEY_BYTES];
    number_key(key, id);
    int result = called(device);
    if (result == 0)
        device_drop(device, kind, key);
    return result;
}

static int load_prekey(signal_buffer **record, uint32_t id, void *user)
{
    return load_key(user, PREKEY, id, record);
}

static int store_prekey(uint32_t id, uint8_t *record, size_t length, void *user)
{
    return store_key(user, PREKEY, id, record, length);
}

static int contains_prekey(uint32_t id, void *user)
{
    return contains_key(user, PREKEY, id);
}

static int remove_prekey(uint32_t id, void *user)
{
    return remove_key(user, PREKEY, id);
}

static int load_signed_prekey(signal_buffer **record, uint32_t id, void *user)
{
    return load_key(user, SIGNED_PREKEY, id, record);
}

static int store_signed_prekey(uint32_t id, uint8_t *record, size_t length, void *user)
{
    return store_key(user, SIGNED_PREKEY, id, record, length);
}

static int contains_signed_prekey(uint32_t id, void *user)
{
    return contains_key(user, SIGNED_PREKEY, id);
}

static int remove_signed_prekey(uint32_t id, void *user)
{
    return remove_key(user, SIGNED_PREKEY, id);
}

static int identity_key_pair(signal_buffer **public_key, signal_buffer **private_key, void *user)
{
    int result = called(user);
    if (result != 0)
        return result;
    const struct row *own = device_row(user, OWN_IDENTITY, "");
    if (own == NULL || own->length <= PRIVATE_BYTES)
        return SG_ERR_UNKNOWN;
    size_t length = own->length - PRIVATE_BYTES;
    *public_key = signal_buffer_create(own->data, length);
    *private_key = signal_buffer_create(own->data + length, PRIVATE_BYTES);
    return *public_key == NULL || *private_key == NULL ? SG_ERR_NOMEM : 0;
}

static int local_registration_id(void *user, uint32_t *id)
{
    int result = called(user);
    if (result != 0)
        return result;
    const struct row *own = device_row(user, OWN_NUMBERS, "");
    if (own == NULL || own->length < sizeof *id)
        return SG_ERR_UNKNOWN;
    memcpy(id, own->data, sizeof *id);
    return 0;
}

/** One pin for all devices of a name. */
static int save_identity(const signal_protocol_address *address, uint8_t *data, size_t length, void *user)
{
    char key[KEY_BYTES];
    int result = called(user);
    if (result != 0)
        return result;
    if (!name_key(key, address->name, address->name_len))
        return SG_ERR_INVAL;
    if (data != NULL)
        return device_put(user, PIN, key, data, length);
    device_drop(user, PIN, key);
    return 0;
}

static int is_trusted_identity(const signal_protocol_address *address, uint8_t *data, size_t length, void *user)
{
    char key[KEY_BYTES];
    const struct device *device = user;
    int result = called(user);
    if (result != 0)
        return result;
    if (!name_key(key, address->name, address->name_len))
        return SG_ERR_INVAL;
    const struct row *pin = device_row(device, PIN, key);
    if (pin == NULL)
        return device->trust_on_first_use;
    return pin->length == length && memcmp(pin->data, data, length) == 0;
}

static int store_sender_key(const signal_protocol_sender_key_name *name, uint8_t *data, size_t length,
                            uint8_t *user_record, size_t user_record_length, void *user)
{
    char key[KEY_BYTES];
    (void)user_record;
    (void)user_record_length;
    int result = called(user);
    if (result == 0)
        result = sender_key_key(key, name) ? device_put(user, SENDER_KEY, key, data, length) : SG_ERR_INVAL;
    return result;
}

static int load_sender_key(signal_buffer **data, signal_buffer **user_record,
                           const signal_protocol_sender_key_name *name, void *user)
{
    char key[KEY_BYTES];
    const struct device *device = user;
    (void)user_record;
    int result = called(user);
    if (result != 0)
        return result;
    if (!sender_key_key(key, name))
        return SG_ERR_INVAL;
    if (device->renewed != NULL && strncmp(device->renewed, name->group_id, name->group_id_len) == 0)
        return 0;
    return load(device, SENDER_KEY, key, data);
}

/* -- a device --------------------------------------------------------------------------------------------------------- */

signal_protocol_address device_address(const struct device *device)
{
    signal_protocol_address address = {
        .name = device->name,
        .name_len = strlen(device->name),
        .device_id = device->device_id,
    };
    return address;
}

int device_reopen(struct device *device)
{
    const signal_protocol_session_store sessions = {
        .load_session_func = load_session,
        .get_sub_device_sessions_func = sub_devices,
        .store_session_func = store_session,
        .contains_session_func = contains_session,
        .delete_session_func = delete_session,
        .delete_all_sessions_func = delete_all_sessions,
        .user_data = device,
    };
    const signal_protocol_pre_key_store prekeys = {
        .load_pre_key = load_prekey,
        .store_pre_key = store_prekey,
        .contains_pre_key = contains_prekey,
        .remove_pre_key = remove_prekey,
        .user_data = device,
    };
    const signal_protocol_signed_pre_key_store signed_prekeys = {
        .load_signed_pre_key = load_signed_prekey,
        .store_signed_pre_key = store_signed_prekey,
        .contains_signed_pre_key = contains_signed_prekey,
        .remove_signed_pre_key = remove_signed_prekey,
        .user_data = device,
    };
    const signal_protocol_identity_key_store identities = {
        .get_identity_key_pair = identity_key_pair,
        .get_local_registration_id = local_registration_id,
        .save_identity = save_identity,
        .is_trusted_identity = is_trusted_identity,
        .user_data = device,
    };
    const signal_protocol_sender_key_store sender_keys = {
        .store_sender_key = store_sender_key,
        .load_sender_key = load_sender_key,
        .user_data = device,
    };
    if (device->store != NULL)
        signal_protocol_store_context_destroy(device->store);
    device->store = NULL;
    int result = signal_protocol_store_context_create(&device->store, peer_context);
    if (result == 0)
        result = signal_protocol_store_context_set_session_store(device->store, &sessions);
    if (result == 0)
        result = signal_protocol_store_context_set_pre_key_store(device->store, &prekeys);
    if (result == 0)
        result = signal_protocol_store_context_set_signed_pre_key_store(device->store, &signed_prekeys);
    if (result == 0)
        result = signal_protocol_store_context_set_identity_key_store(device->store, &identities);
    if (result == 0)
        result = signal_protocol_store_context_set_sender_key_store(device->store, &sender_keys);
    return result;
}

struct device *device_make(const char *name, int32_t device_id)
{
    struct device *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->device_id = device_id;
    made->trust_on_first_use = true;
    made->crash_at = -1;
    made->name = malloc(strlen(name) + 1);
    if (made->name != NULL)
        strcpy(made->name, name);
    if (made->name == NULL || device_reopen(made) != 0) {
        device_free(made);
        return NULL;
    }
    return made;
}

void device_free(struct device *device)
{
    if (device == NULL)
        return;
    if (device->store != NULL)
        signal_protocol_store_context_destroy(device->store);
    rows_free(device->rows);
    rows_free(device->before);
    free(device->name);
    free(device);
}
