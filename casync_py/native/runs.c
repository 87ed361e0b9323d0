/* Runs of plain files in an archive: one pass over records that differ in nothing but name, time and content. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"
#include "runs.h"

#include <stdint.h>
#include <string.h>

/* The records' types and sizes, as in format/constants.py. */
#define FILENAME_TYPE 0x6dbb6ebcb3161f0bULL
#define PAYLOAD_TYPE 0x8b9e1d93d6dcffc9ULL
#define HEADER_SIZE 16
#define FILENAME_MIN (HEADER_SIZE + 2)
#define FILENAME_MAX (HEADER_SIZE + 255 + 1)
#define TIME_SIZE 8

struct like {
    Py_buffer head, owner; /* an ENTRY up to its time; the records between it and the PAYLOAD */
    unsigned long long granularity, latest, largest;
};

struct file {
    const uint8_t *name, *content;
    size_t name_size, size, records_size; /* of all records, the content included */
    uint64_t mtime_ns;
};

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static int is_child(const uint8_t *name, size_t size)
{
    return !memchr(name, '/', size) && !memchr(name, 0, size) && !(size == 1 && name[0] == '.')
           && !(size == 2 && name[0] == '.' && name[1] == '.');
}

static int ascends(const uint8_t *last, size_t last_size, const uint8_t *name, size_t size)
{
    int order = memcmp(last, name, last_size < size ? last_size : size);

    return order < 0 || (order == 0 && last_size < size);
}

/* Whether a whole file of the run lies at the start of `data`. */
static int read_file(const uint8_t *data, size_t left, const struct like *like, struct file *file)
{
    size_t head = (size_t)like->head.len, owner = (size_t)like->owner.len, fixed = head + TIME_SIZE + owner + HEADER_SIZE;
    uint64_t length, size;
    const uint8_t *entry;

    if (left < HEADER_SIZE)
        return 0;
    length = load64(data);
    if (load64(data + 8) != FILENAME_TYPE || length < FILENAME_MIN || length > FILENAME_MAX || left < length + fixed)
        return 0;
    entry = data + length;
    file->name = data + HEADER_SIZE;
    file->name_size = (size_t)length - HEADER_SIZE - 1;
    file->mtime_ns = load64(entry + head);
    if (entry[-1] || memcmp(entry, like->head.buf, head) != 0 || file->mtime_ns > like->latest
        || file->mtime_ns % like->granularity || memcmp(entry + head + TIME_SIZE, like->owner.buf, owner) != 0)
        return 0;
    file->content = entry + fixed;
    size = load64(file->content - HEADER_SIZE);
    if (load64(file->content - 8) != PAYLOAD_TYPE || size < HEADER_SIZE || size - HEADER_SIZE > like->largest
        || size - HEADER_SIZE > left - length - fixed)
        return 0;
    file->size = (size_t)size - HEADER_SIZE;
    file->records_size = (size_t)length + fixed + file->size;
    return is_child(file->name, file->name_size);
}

static int append(PyObject *list, PyObject *item)
{
    int failed = !item || PyList_Append(list, item) < 0;

    Py_XDECREF(item);
    return !failed;
}

static PyObject *read_run(PyObject *view, const Py_buffer *data, size_t start, Py_buffer *last, const struct like *like)
{
    PyObject *names = PyList_New(0), *starts = PyList_New(0), *times = PyList_New(0), *contents = PyList_New(0);
    const uint8_t *bytes = data->buf, *last_name = last->buf;
    size_t position = start, last_size = (size_t)last->len;
    int good = names && starts && times && contents;
    struct file file;

    while (good && read_file(bytes + position, (size_t)data->len - position, like, &file)
           && ascends(last_name, last_size, file.name, file.name_size)) {
        Py_ssize_t content = file.content - bytes;

        good = append(names, PyBytes_FromStringAndSize((const char *)file.name, (Py_ssize_t)file.name_size))
               && append(starts, PyLong_FromSize_t(position))
               && append(times, PyLong_FromUnsignedLongLong(file.mtime_ns))
               && append(contents, PySequence_GetSlice(view, content, content + (Py_ssize_t)file.size));
        last_name = file.name;
        last_size = file.name_size;
        position += file.records_size;
    }
    if (good)
        return Py_BuildValue("(nNNNN)", (Py_ssize_t)position, names, starts, times, contents);
    Py_XDECREF(names);
    Py_XDECREF(starts);
    Py_XDECREF(times);
    Py_XDECREF(contents);
    return NULL;
}

PyObject *plain_run(PyObject *module, PyObject *args)
{
    PyObject *view, *result = NULL;
    Py_buffer data, last;
    Py_ssize_t position;
    struct like like;

    (void)module;
    if (!PyArg_ParseTuple(args, "Ony*y*y*KKK", &view, &position, &last, &like.head, &like.owner, &like.granularity,
                          &like.latest, &like.largest))
        return NULL;
    if (PyObject_GetBuffer(view, &data, PyBUF_SIMPLE) == 0) {
        if (position < 0 || position > data.len || like.granularity == 0)
            PyErr_SetString(PyExc_ValueError, "A position outside of the buffer, or no granularity");
        else
            result = read_run(view, &data, (size_t)position, &last, &like);
        PyBuffer_Release(&data);
    }
    PyBuffer_Release(&last);
    PyBuffer_Release(&like.head);
    PyBuffer_Release(&like.owner);
    return result;
}
