/* What the kernels offer to the Python module; none of them knows Python or needs the GIL. */

#ifndef CASYNC_PY_KERNELS_H
#define CASYNC_PY_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Ascending positions; starts as all zeros, and the caller frees `items`. */
struct positions {
    uint32_t *items;
    size_t count, capacity;
};

/* One form of the candidate search. */
struct block;
struct divisor;
struct variant {
    const char *name;
    void (*look_up)(const uint8_t *bytes, uint32_t *rows);
    void (*search)(struct block *block, const struct divisor *by);
};

/* Those that this processor can run, best first; empty until find_variants() was called. */
extern struct variant variants[];
extern size_t variant_count;

void find_variants(void);

/* Appends every p in 48..size at which the buzhash of data[p - 48..p) modulo `discriminator`, which is not 0, is
 * `discriminator` - 1. False when memory ran out. */
int find_candidates(const uint8_t *data, size_t size, uint32_t discriminator, const struct variant *variant,
                    struct positions *positions);

/* SipHash-2-4 with a key of 16 bytes. */
uint64_t sip_hash(const uint8_t *key, const uint8_t *data, size_t size);

#endif
