/* The C kernels of casync_py; each has a twin in _python.py with the same results.
 *
 * Cut candidates. The rolling hash of a position depends on the 48 bytes before it and on nothing else, so positions
 * can be hashed in any order. A block of bytes is taken as LANES runs that lie next to each other; one vector holds the
 * hash of one position of each run, and a step moves all of them on by one byte. Rotate, xor, multiply and compare
 * then need no shuffles, and plain loops over LANES are what compilers vectorise well. Only the table look-up stays
 * scalar; it writes its values transposed, row by row.
 */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW 48
#define LANES 16
#define RUN 256                /* positions per lane and block; the rows of a block stay below 20 KiB */
#define BLOCK (LANES * RUN)
#define GROUP 64               /* rows hashed before looking whether there was a hit */
#define MAX_BYTES ((Py_ssize_t)1 << 31)
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
    /* The rows behind a run are the first rows of the next lane; the last lane goes on into the next block. */
    memcpy(rows + RUN * LANES, rows + 1, (WINDOW - 1) * LANES * sizeof *rows);
    for (size_t i = 0; i < WINDOW - 1; i++)
        rows[(RUN + i) * LANES + LANES - 1] = BUZHASH_TABLE[bytes[BLOCK + i]];
}

static void note_hits(struct block *block, const uint32_t *any, size_t first_row, uint32_t bound)
{
    for (size_t lane = 0; lane < LANES; lane++)
        for (size_t i = 0; any[lane] && i < GROUP; i++)
            if (block->tested[i * LANES + lane] <= bound)
                block->hits[lane][block->count[lane]++] = (uint16_t)(first_row + i);
}

/* Hashes the BLOCK windows that start in a block, for which it needs BLOCK + WINDOW - 1 bytes. */
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

/* ---- variants of search_rows for what the processor offers, best first ---- */

typedef void search_function(struct block *, const struct divisor *);

static void search_portable(struct block *block, const struct divisor *by) { search_rows(block, by); }

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2"))) static void search_avx2(struct block *block, const struct divisor *by)
{
    search_rows(block, by);
}

__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))) static void search_avx512(struct block *block, const struct divisor *by)
{
    search_rows(block, by);
}
#endif

struct variant {
    const char *name;
    search_function *search;
};

static struct variant variants[3];
static size_t variant_count;

static void find_variants(void)
{
    variant_count = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        variants[variant_count++] = (struct variant){"avx512", search_avx512};
    if (__builtin_cpu_supports("avx2"))
        variants[variant_count++] = (struct variant){"avx2", search_avx2};
#endif
    variants[variant_count++] = (struct variant){"portable", search_portable};
}

/* ---- a whole buffer ---- */

struct positions {
    uint32_t *items;
    size_t count, capacity;
};

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

/* False when memory ran out. */
static int find_candidates(const uint8_t *data, size_t size, uint32_t discriminator, search_function *search,
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
        look_up(bytes, block.rows);
        search(&block, &by);
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

static PyObject *as_memoryview(const struct positions *positions)
{
    PyObject *view, *typed;
    PyObject *raw = PyBytes_FromStringAndSize((const char *)positions->items,
                                              (Py_ssize_t)(positions->count * sizeof *positions->items));

    if (!raw)
        return NULL;
    view = PyMemoryView_FromObject(raw);
    Py_DECREF(raw);
    if (!view)
        return NULL;
    typed = PyObject_CallMethod(view, "cast", "s", "I");
    Py_DECREF(view);
    return typed;
}

static PyObject *candidates_by(Py_buffer *data, long long discriminator, search_function *search)
{
    struct positions positions = {NULL, 0, 0};
    PyObject *result = NULL;
    int complete;

    if (discriminator < 1 || discriminator > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "The discriminator is not in 1..2^32-1");
    else if (data->len > MAX_BYTES)
        PyErr_SetString(PyExc_ValueError, "The buffer is larger than 2 GiB");
    else {
        Py_BEGIN_ALLOW_THREADS
        complete = find_candidates(data->buf, (size_t)data->len, (uint32_t)discriminator, search, &positions);
        Py_END_ALLOW_THREADS
        result = complete ? as_memoryview(&positions) : PyErr_NoMemory();
        free(positions.items);
    }
    return result;
}

static PyObject *candidates(PyObject *module, PyObject *args)
{
    Py_buffer data;
    long long discriminator;
    PyObject *result;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*L", &data, &discriminator))
        return NULL;
    result = candidates_by(&data, discriminator, variants[0].search);
    PyBuffer_Release(&data);
    return result;
}

static PyObject *candidates_of_variant(PyObject *module, PyObject *args)
{
    const char *name;
    Py_buffer data;
    long long discriminator;
    PyObject *result = NULL;
    size_t i = 0;

    (void)module;
    if (!PyArg_ParseTuple(args, "sy*L", &name, &data, &discriminator))
        return NULL;
    while (i < variant_count && strcmp(variants[i].name, name) != 0)
        i++;
    if (i < variant_count)
        result = candidates_by(&data, discriminator, variants[i].search);
    else
        PyErr_Format(PyExc_ValueError, "This processor has no variant %s", name);
    PyBuffer_Release(&data);
    return result;
}

/* ---- SipHash-2-4: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012 ---- */

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

static uint64_t sip_hash(const uint8_t *key, const uint8_t *data, size_t size)
{
    uint64_t k0 = load_le64(key, 8), k1 = load_le64(key + 8, 8), word;
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
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

static int check_key(Py_ssize_t key_size)
{
    if (key_size != 16)
        PyErr_Format(PyExc_ValueError, "A SipHash key has 16 bytes, not %zd", key_size);
    return key_size == 16;
}

static PyObject *siphash24(PyObject *module, PyObject *args)
{
    const char *key;
    Py_ssize_t key_size;
    Py_buffer data;
    PyObject *result = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "y#y*", &key, &key_size, &data))
        return NULL;
    if (check_key(key_size))
        result = PyLong_FromUnsignedLongLong(sip_hash((const uint8_t *)key, data.buf, (size_t)data.len));
    PyBuffer_Release(&data);
    return result;
}

static PyObject *siphash24_many(PyObject *module, PyObject *args)
{
    const char *key;
    Py_ssize_t key_size, count;
    PyObject *names, *hashes;

    (void)module;
    if (!PyArg_ParseTuple(args, "y#O", &key, &key_size, &names) || !check_key(key_size))
        return NULL;
    if (!PyList_Check(names)) {
        PyErr_SetString(PyExc_TypeError, "The names are not a list");
        return NULL;
    }
    count = PyList_Size(names);
    hashes = PyList_New(count);
    for (Py_ssize_t i = 0; hashes && i < count; i++) {
        char *name;
        Py_ssize_t size;
        PyObject *item = PyList_GetItem(names, i), *hash = NULL;

        if (item && PyBytes_AsStringAndSize(item, &name, &size) == 0)
            hash = PyLong_FromUnsignedLongLong(sip_hash((const uint8_t *)key, (const uint8_t *)name, (size_t)size));
        if (!hash || PyList_SetItem(hashes, i, hash) < 0)
            Py_CLEAR(hashes);
    }
    return hashes;
}

/* ---- what the os module lacks ---- */

static PyObject *sync_file_system(PyObject *module, PyObject *args)
{
    int fd, failed;

    (void)module;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = syncfs(fd);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"candidates", candidates, METH_VARARGS, NULL},
    {"candidates_of_variant", candidates_of_variant, METH_VARARGS, NULL},
    {"siphash24", siphash24, METH_VARARGS, NULL},
    {"siphash24_many", siphash24_many, METH_VARARGS, NULL},
    {"syncfs", sync_file_system, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *names, *module = PyModule_Create(&definition);

    if (!module)
        return NULL;
    find_variants();
    names = PyTuple_New((Py_ssize_t)variant_count);
    for (size_t i = 0; names && i < variant_count; i++) {
        PyObject *name = PyUnicode_FromString(variants[i].name);

        if (!name || PyTuple_SetItem(names, (Py_ssize_t)i, name) < 0)
            Py_CLEAR(names);
    }
    if (!names || PyModule_AddObjectRef(module, "VARIANTS", names) < 0)
        Py_CLEAR(module);
    Py_XDECREF(names);
    return module;
}
