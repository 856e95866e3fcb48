#include "peer.h"

#include <string.h>

#include <group_cipher.h>
#include <group_session_builder.h>
#include <protocol.h>

static signal_protocol_sender_key_name named(const struct device *sender, const char *group)
{
    signal_protocol_sender_key_name name = {
        .group_id = group,
        .group_id_len = strlen(group),
        .sender = device_address(sender),
    };
    return name;
}

int member_create(struct device *own, const char *group, signal_buffer **distribution)
{
    group_session_builder *builder = NULL;
    sender_key_distribution_message *made = NULL;
    signal_protocol_sender_key_name name = named(own, group);
    int result = group_session_builder_create(&builder, own->store, peer_context);
    if (result == 0)
        result = group_session_builder_create_session(builder, &made, &name);
    if (result == 0) {
        *distribution = signal_buffer_copy(ciphertext_message_get_serialized((ciphertext_message *)made));
        result = *distribution == NULL ? SG_ERR_NOMEM : 0;
    }
    SIGNAL_UNREF(made);
    group_session_builder_free(builder);
    return result;
}

int member_join(struct device *own, const struct device *sender, const char *group, const uint8_t *data, size_t length)
{
    group_session_builder *builder = NULL;
    sender_key_distribution_message *given = NULL;
    signal_protocol_sender_key_name name = named(sender, group);
    int result = sender_key_distribution_message_deserialize(&given, data, length, peer_context);
    if (result == 0)
        result = group_session_builder_create(&builder, own->store, peer_context);
    if (result == 0)
        result = group_session_builder_process_session(builder, &name, given);
    SIGNAL_UNREF(given);
    group_session_builder_free(builder);
    return result;
}

int member_encrypt(struct device *own, const char *group, const uint8_t *text, size_t length, signal_buffer **message)
{
    group_cipher *cipher = NULL;
    ciphertext_message *made = NULL;
    signal_protocol_sender_key_name name = named(own, group);
    int result = group_cipher_create(&cipher, own->store, &name, peer_context);
    if (result == 0)
        result = group_cipher_encrypt(cipher, text, length, &made);
    if (result == 0) {
        *message = signal_buffer_copy(ciphertext_message_get_serialized(made));
        result = *message == NULL ? SG_ERR_NOMEM : 0;
    }
    SIGNAL_UNREF(made);
    group_cipher_free(cipher);
    return result;
}

int member_decrypt(struct device *own, const struct device *sender, const char *group, const uint8_t *data,
                   size_t length, signal_buffer **text)
{
    group_cipher *cipher = NULL;
    sender_key_message *message = NULL;
    signal_protocol_sender_key_name name = named(sender, group);
    int result = sender_key_message_deserialize(&message, data, length, peer_context);
    if (result == 0)
        result = group_cipher_create(&cipher, own->store, &name, peer_context);
    if (result == 0)
        result = group_cipher_decrypt(cipher, message, NULL, text);
    SIGNAL_UNREF(message);
    group_cipher_free(cipher);
    return result;
}

/** The peer begins a chain where its store has none; what it stores then replaces the former one. */
int member_rotate(struct device *own, const char *group)
{
    signal_buffer *made = NULL;
    own->renewed = group;
    int result = member_create(own, group, &made);
    own->renewed = NULL;
    signal_buffer_free(made);
    return result;
}
