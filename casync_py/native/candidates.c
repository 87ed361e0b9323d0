/* Cut candidates. The rolling hash of a position depends on the 48 bytes before it and on nothing else, so positions
 * can be hashed in any order. A block of bytes is taken as LANES runs that lie next to each other; one vector holds the
 * hash of one position of each run, and a step moves all of them on by one byte. Rotate, xor, multiply and compare
 * then need no shuffles, and plain loops over LANES are what compilers vectorise well. The table look-up before it
 * writes its values in that order, row by row. */

#include "kernels.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) /* which clang defines too */
#define X86 1
#include <immintrin.h>
#endif

#define WINDOW 48
#define LANES 16
#define RUN 256 /* positions per lane and block; the rows of a block stay below 20 KiB */
#define BLOCK (LANES * RUN)
#define GROUP 64 /* rows hashed before looking whether there was a hit */
#define FIRST_CAPACITY ((size_t)2 * BLOCK)

/* casync cachunker.c, buzhash_table */
static const uint32_t BUZHASH_TABLE[256] = {
    0x458be752, 0xc10748cc, 0xfbbcdbb8, 0x6ded5b68, 0xb10a82b5, 0x20d75648, 0xdfc5665f, 0xa8428801,
    0x7ebf5191, 0x841135c7, 0x65cc53b3, 0x280a597c, 0x16f60255, 0xc78cbc3e, 0x294415f5, 0xb938d494,
    0xec85c4e6, 0xb7d33edc, 0xe549b544, 0xfdeda5aa, 0x882bf287, 0x3116737c, 0x05569956, 0xe8cc1f68,
    0x0806ac5e, 0x22a14443, 0x15297e10, 0x50d090e7, 0x4ba60f6f, 0xefd9f1a7, 0x5c5c885c, 0x82482f93,
    0x9bfd7c64, 0x0b3e7276, 0xf2688e77, 0x8fad8abc, 0xb0509568, 0xf1ada29f, 0xa53efdfe, 0xcb2b1d00,
    0xf2a9e986, 0x6463432b, 0x95094051, 0x5a223ad2, 0x9be8401b, 0x61e579cb, 0x1a556a14, 0x5840fdc2,
    0x9261ddf6, 0xcde002bb, 0x52432bb0, 0xbf17373e, 0x7b7c222f, 0x2955ed16, 0x9f10ca59, 0xe840c4c9,
    0xccabd806, 0x14543f34, 0x1462417a, 0x0d4a1f9c, 0x087ed925, 0xd7f8f24c, 0x7338c425, 0xcf86c8f5,
    0xb19165cd, 0x9891c393, 0x325384ac, 0x0308459d, 0x86141d7e, 0xc922116a, 0xe2ffa6b6, 0x53f52aed,
    0x2cd86197, 0xf5b9f498, 0xbf319c8f, 0xe0411fae, 0x977eb18c, 0xd8770976, 0x9833466a, 0xc674df7f,
    0x8c297d45, 0x8ca48d26, 0xc49ed8e2, 0x7344f874, 0x556f79c7, 0x6b25eaed, 0xa03e2b42, 0xf68f66a4,
    0x8e8b09a2, 0xf2e0e62a, 0x0d3a9806, 0x9729e493, 0x8c72b0fc, 0x160b94f6, 0x450e4d3d, 0x7a320e85,
    0xbef8f0e1, 0x21d73653, 0x4e3d977a, 0x1e7b3929, 0x1cc6c719, 0xbe478d53, 0x8d752809, 0xe6d8c2c6,
    0x275f0892, 0xc8acc273, 0x4cc21580, 0xecc4a617, 0xf5f7be70, 0xe795248a, 0x375a2fe9, 0x425570b6,
    0x8898dcf8, 0xdc2d97c4, 0x0106114b, 0x364dc22f, 0x1e0cad1f, 0xbe63803c, 0x5f69fac2, 0x4d5afa6f,
    0x1bc0dfb5, 0xfb273589, 0x0ea47f7b, 0x3c1c2b50, 0x21b2a932, 0x6b1223fd, 0x2fe706a8, 0xf9bd6ce2,
    0xa268e64e, 0xe987f486, 0x3eacf563, 0x1ca2018c, 0x65e18228, 0x2207360a, 0x57cf1715, 0x34c37d2b,
    0x1f8f3cde, 0x93b657cf, 0x31a019fd, 0xe69eb729, 0x8bca7b9b, 0x4c9d5bed, 0x277ebeaf, 0xe0d8f8ae,
    0xd150821c, 0x31381871, 0xafc3f1b0, 0x927db328, 0xe95effac, 0x305a47bd, 0x426ba35b, 0x1233af3f,
    0x686a5b83, 0x50e072e5, 0xd9d3bb2a, 0x8befc475, 0x487f0de6, 0xc88dff89, 0xbd664d5e, 0x971b5d18,
    0x63b14847, 0xd7d3c1ce, 0x7f583cf3, 0x72cbcb09, 0xc0d0a81c, 0x7fa3429b, 0xe9158a1b, 0x225ea19a,
    0xd8ca9ea3, 0xc763b282, 0xbb0c6341, 0x020b8293, 0xd4cd299d, 0x58cfa7f8, 0x91b4ee53, 0x37e4d140,
    0x95ec764c, 0x30f76b06, 0x5ee68d24, 0x679c8661, 0xa41979c2, 0xf2b61284, 0x4fac1475, 0x0adb49f9,
    0x19727a23, 0x15a7e374, 0xc43a18d5, 0x3fb1aa73, 0x342fc615, 0x924c0793, 0xbee2d7f0, 0x8a279de9,
    0x4aa2d70c, 0xe24dd37f, 0xbe862c0b, 0x177c22c2, 0x5388e5ee, 0xcd8a7510, 0xf901b4fd, 0xdbc13dbc,
    0x6c0bae5b, 0x64efe8c7, 0x48b02079, 0x80331a49, 0xca3d8ae6, 0xf3546190, 0xfed7108b, 0xc49b941b,
    0x32baf4a9, 0xeb833a4a, 0x88a3f1a5, 0x3a91ce0a, 0x3cc27da1, 0x7112e684, 0x4a3096b1, 0x3794574c,
    0xa3c8b6f3, 0x1d213941, 0x6e0a2e00, 0x233479f1, 0x0f4cd82f, 0x6093edd2, 0x5d7d209e, 0x464fe319,
    0xd4dcac9e, 0x0db845cb, 0xfb5e4bc3, 0xe0256ce1, 0x09fb4ed1, 0x0914be1e, 0xa5bdb2c3, 0xc6eb57bb,
    0x30320350, 0x3f397e91, 0xa67791bc, 0x86bc0e2c, 0xefa0a7e2, 0xe9ff7543, 0xe733612c, 0xd185897b,
    0x329e5388, 0x91dd236b, 0x2ecb0d93, 0xf4d82a3d, 0x35b5c03f, 0xe4e606f0, 0x05b21843, 0x37b45964,
    0x5eff22f4, 0x6027f4cc, 0x77178b3c, 0xae507131, 0x7bf7cabc, 0xf9c18d66, 0x593ade65, 0xd95ddf11,
};

static inline uint32_t rotate_left(uint32_t value, unsigned count)
{
    return value << count | value >> (32 - count);
}

/* ---- hash % discriminator == discriminator - 1, without a division ----
 *
 * Holds when discriminator = odd << shift divides hash + 1. For x = hash + 1 below 2^32 that is so when
 * rotate_right(x / odd mod 2^32, shift) <= (2^32 - 1) / discriminator: Hacker's Delight, 10-17. When the hash is
 * 2^32 - 1, x wraps to 0 and always passes, but only powers of two divide 2^32: for all others the result 0, which no
 * other x has, is shut out by comparing one less. */

struct divisor {
    uint32_t inverse; /* of the odd part, modulo 2^32 */
    unsigned shift, unshift;
    uint32_t bias, bound;
};

static struct divisor divisor_of(uint32_t discriminator)
{
    struct divisor by;
    uint32_t odd = discriminator;

    for (by.shift = 0; odd % 2 == 0; by.shift++)
        odd /= 2;
    by.unshift = (32 - by.shift) % 32;
    by.inverse = odd; /* right in the lowest 3 bits; each round doubles them */
    for (int round = 0; round < 4; round++)
        by.inverse *= 2 - odd * by.inverse;
    by.bias = odd != 1;
    by.bound = UINT32_MAX / discriminator - by.bias;
    return by;
}

/* ---- one block ---- */

struct block {
    _Alignas(64) uint32_t rows[(RUN + WINDOW) * LANES]; /* table value of byte lane * RUN + row at [row][lane] */
    _Alignas(64) uint32_t tested[GROUP * LANES];
    uint16_t hits[LANES][RUN];
    unsigned count[LANES];
};

static void look_up(const uint8_t *bytes, uint32_t *rows)
{
    for (size_t lane = 0; lane < LANES; lane++)
        for (size_t row = 0; row < RUN; row += 8) {
            uint64_t eight;

            memcpy(&eight, bytes + lane * RUN + row, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            eight = __builtin_bswap64(eight);
#endif
            for (size_t i = 0; i < 8; i++)
                rows[(row + i) * LANES + lane] = BUZHASH_TABLE[(eight >> 8 * i) & 0xff];
        }
}

#ifdef X86
static _Alignas(64) uint8_t byte_planes[4][256]; /* byte 0, 1, 2, 3 of each word of the table */

/* 64 bytes at once, four rows of all lanes: each plane is looked up by two permutes of 128 entries and a blend. The
 * unpack instructions work within 16 bytes, so the bytes of one row are brought together there before. On an AMD Zen 5
 * this makes the whole search 1.6 times as fast. */
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) static void look_up_vbmi(const uint8_t *bytes, uint32_t *rows)
{
    const __m512i by_row = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    _Alignas(64) uint32_t fours[RUN / 4][LANES];
    __m512i table[4][4];

    for (size_t i = 0; i < RUN / 4; i++)
        for (size_t lane = 0; lane < LANES; lane++)
            memcpy(&fours[i][lane], bytes + lane * RUN + 4 * i, 4);
    for (size_t plane = 0; plane < 4; plane++)
        for (size_t quarter = 0; quarter < 4; quarter++)
            table[plane][quarter] = _mm512_load_si512(byte_planes[plane] + 64 * quarter);

    for (size_t i = 0; i < RUN / 4; i++) {
        __m512i index = _mm512_shuffle_epi8(_mm512_load_si512(fours[i]), by_row), found[4], low, high, low2, high2;
        __mmask64 upper = _mm512_movepi8_mask(index);
        uint32_t *four_rows = rows + 4 * i * LANES;

        for (size_t plane = 0; plane < 4; plane++)
            found[plane] = _mm512_mask_blend_epi8(
                upper, _mm512_permutex2var_epi8(table[plane][0], index, table[plane][1]),
                _mm512_permutex2var_epi8(table[plane][2], index, table[plane][3]));
        low = _mm512_unpacklo_epi8(found[0], found[1]);
        high = _mm512_unpackhi_epi8(found[0], found[1]);
        low2 = _mm512_unpacklo_epi8(found[2], found[3]);
        high2 = _mm512_unpackhi_epi8(found[2], found[3]);
        _mm512_store_si512(four_rows, _mm512_unpacklo_epi16(low, low2));
        _mm512_store_si512(four_rows + LANES, _mm512_unpackhi_epi16(low, low2));
        _mm512_store_si512(four_rows + 2 * LANES, _mm512_unpacklo_epi16(high, high2));
        _mm512_store_si512(four_rows + 3 * LANES, _mm512_unpackhi_epi16(high, high2));
    }
}
#endif

/* Behind a run come the first rows of the next lane, behind the last lane the bytes `next` to the block. */
static void look_up_behind(const uint8_t *next, uint32_t *rows)
{
    for (size_t i = 0; i < (WINDOW - 1) * LANES; i++)
        rows[RUN * LANES + i] = rows[i + 1];
    for (size_t i = 0; i < WINDOW - 1; i++)
        rows[(RUN + i) * LANES + LANES - 1] = BUZHASH_TABLE[next[i]];
}

static void note_hits(struct block *block, const uint32_t *any, size_t first_row, uint32_t bound)
{
    for (size_t lane = 0; lane < LANES; lane++)
        for (size_t i = 0; any[lane] && i < GROUP; i++)
            if (block->tested[i * LANES + lane] <= bound)
                block->hits[lane][block->count[lane]++] = (uint16_t)(first_row + i);
}

/* Hashes the BLOCK windows that start in a block. */
static inline __attribute__((always_inline)) void search_rows(struct block *block, const struct divisor *divisor)
{
    const struct divisor by = *divisor;
    uint32_t *rows = block->rows;
    uint32_t hash[LANES] = {0};

    for (size_t row = 0; row < WINDOW - 1; row++)
        for (size_t lane = 0; lane < LANES; lane++)
            hash[lane] = rotate_left(hash[lane], 1) ^ rows[row * LANES + lane];
    memset(rows + (RUN + WINDOW - 1) * LANES, 0, LANES * sizeof *rows); /* the first step drops nothing */

    for (size_t first = 0; first < RUN; first += GROUP) {
        uint32_t any[LANES] = {0}, hit = 0;

        for (size_t i = 0; i < GROUP; i++) {
            size_t row = first + i;
            const uint32_t *entering = rows + (row + WINDOW - 1) * LANES;
            const uint32_t *leaving = rows + (row ? row - 1 : RUN + WINDOW - 1) * LANES;

            for (size_t lane = 0; lane < LANES; lane++) {
                uint32_t tested;

                hash[lane] = rotate_left(hash[lane], 1) ^ rotate_left(leaving[lane], WINDOW % 32) ^ entering[lane];
                tested = hash[lane] * by.inverse + by.inverse;
                tested = (tested >> by.shift | tested << by.unshift) - by.bias;
                block->tested[i * LANES + lane] = tested;
                any[lane] |= tested <= by.bound;
            }
        }
        for (size_t lane = 0; lane < LANES; lane++)
            hit |= any[lane];
        if (hit)
            note_hits(block, any, first, by.bound);
    }
}

/* ---- variants for what the processor offers, best first ---- */

struct variant variants[4];
size_t variant_count;

static void search_portable(struct block *block, const struct divisor *by)
{
    search_rows(block, by);
}

#ifdef X86
__attribute__((target("avx2"))) static void
search_avx2(struct block *block, const struct divisor *by)
{
    search_rows(block, by);
}

__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))) static void
search_avx512(struct block *block, const struct divisor *by)
{
    search_rows(block, by);
}

static void find_x86_variants(void)
{
    for (size_t i = 0; i < 256; i++)
        for (size_t plane = 0; plane < 4; plane++)
            byte_planes[plane][i] = (uint8_t)(BUZHASH_TABLE[i] >> 8 * plane);
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq")) {
        if (__builtin_cpu_supports("avx512vbmi"))
            variants[variant_count++] = (struct variant){"avx512vbmi", look_up_vbmi, search_avx512};
        variants[variant_count++] = (struct variant){"avx512", look_up, search_avx512};
    }
    if (__builtin_cpu_supports("avx2"))
        variants[variant_count++] = (struct variant){"avx2", look_up, search_avx2};
}
#endif

void find_variants(void)
{
    variant_count = 0;
#ifdef X86
    find_x86_variants();
#endif
    variants[variant_count++] = (struct variant){"portable", look_up, search_portable};
}

/* ---- a whole buffer ---- */

static int make_room(struct positions *positions)
{
    size_t capacity = positions->capacity ? positions->capacity * 2 : FIRST_CAPACITY;
    uint32_t *items;

    if (positions->capacity - positions->count >= BLOCK)
        return 1;
    items = realloc(positions->items, capacity * sizeof *items);
    if (!items)
        return 0;
    positions->items = items;
    positions->capacity = capacity;
    return 1;
}

int find_candidates(const uint8_t *data, size_t size, uint32_t discriminator, const struct variant *variant,
                    struct positions *positions)
{
    struct divisor by = divisor_of(discriminator);
    struct block block;
    uint8_t tail[BLOCK + WINDOW - 1];

    for (size_t at = 0; at + WINDOW <= size; at += BLOCK) {
        size_t windows = size - at - (WINDOW - 1);
        const uint8_t *bytes = data + at;

        if (windows < BLOCK) {
            memcpy(tail, bytes, size - at);
            memset(tail + (size - at), 0, sizeof tail - (size - at));
            bytes = tail;
        }
        memset(block.count, 0, sizeof block.count);
        variant->look_up(bytes, block.rows);
        look_up_behind(bytes + BLOCK, block.rows);
        variant->search(&block, &by);
        if (!make_room(positions))
            return 0;
        for (size_t lane = 0; lane < LANES; lane++)
            for (size_t i = 0; i < block.count[lane]; i++) {
                size_t start = lane * RUN + block.hits[lane][i];

                if (start < windows)
                    positions->items[positions->count++] = (uint32_t)(at + start + WINDOW);
            }
    }
    return 1;
}
