/* The C module: Python's side of the kernels. What _python.py has too gives the same results there. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* syncfs */
#include <Python.h>

#include "files.h"
#include "kernels.h"
#include "runs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES ((Py_ssize_t)1 << 31)

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

static PyObject *candidates_by(Py_buffer *data, long long discriminator, const struct variant *variant)
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
        complete = find_candidates(data->buf, (size_t)data->len, (uint32_t)discriminator, variant, &positions);
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
    result = candidates_by(&data, discriminator, &variants[0]);
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
        result = candidates_by(&data, discriminator, &variants[i]);
    else
        PyErr_Format(PyExc_ValueError, "This processor has no variant %s", name);
    PyBuffer_Release(&data);
    return result;
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
    {"create_files", create_files, METH_VARARGS, NULL},
    {"open_and_examine", open_and_examine, METH_VARARGS, NULL},
    {"plain_run", plain_run, METH_VARARGS, NULL},
    {"read_rest", read_rest, METH_VARARGS, NULL},
    {"read_whole", read_whole, METH_VARARGS, NULL},
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
