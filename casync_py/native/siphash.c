/* SipHash-2-4, after Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. */

#include "kernels.h"

static inline uint64_t rotate_left_64(uint64_t value, unsigned count)
{
    return value << count | value >> (64 - count);
}

static inline uint64_t load_le64(const uint8_t *bytes, size_t count)
{
    uint64_t word = 0;

    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return word;
}

static void sip_rounds(uint64_t v[4], int count)
{
    while (count--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate_left_64(v[1], 13) ^ v[0];
        v[3] = rotate_left_64(v[3], 16) ^ v[2];
        v[0] = rotate_left_64(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate_left_64(v[1], 17) ^ v[2];
        v[3] = rotate_left_64(v[3], 21) ^ v[0];
        v[2] = rotate_left_64(v[2], 32);
    }
}

uint64_t sip_hash(const uint8_t *key, const uint8_t *data, size_t size)
{
    uint64_t k0 = load_le64(key, 8), k1 = load_le64(key + 8, 8), word;
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d,
                     k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
    size_t whole = size - size % 8;

    for (size_t i = 0; i < whole; i += 8) {
        word = load_le64(data + i, 8);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    word = (uint64_t)size << 56 | load_le64(data + whole, size % 8);
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
