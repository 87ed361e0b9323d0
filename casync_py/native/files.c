/* What is done to each file of a tree and each chunk of a store, as one step with the GIL released once: between a
 * handful of short system calls a thread would else wait for the GIL a handful of times. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h> /* renameat */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096 /* the unit of holes, as in archive/holes.py */
#define SECOND 1000000000LL

/* O_NONBLOCK: should a fifo have taken the file's place, opening it must not wait for a writer. */
#define OPEN_TO_READ (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)
#define OPEN_NEW (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY)

static int open_at(int directory, const char *name, int flags, mode_t mode)
{
    int fd;

    do
        fd = openat(directory, name, flags, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Closes and keeps errno. */
static void close_after_error(int fd)
{
    int error = errno;

    close(fd);
    errno = error;
}

static long long nanoseconds(struct timespec time)
{
    return (long long)time.tv_sec * SECOND + time.tv_nsec;
}

static struct timespec timespec_of(long long ns)
{
    struct timespec time = {(time_t)(ns / SECOND), (long)(ns % SECOND)};

    if (time.tv_nsec < 0) {
        time.tv_nsec += SECOND;
        time.tv_sec--;
    }
    return time;
}

static int has_none(int error)
{
    return error == ENOTTY || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == ENODATA;
}

/* Flags and whether there are xattrs, 0 where the file system has no such thing; false with errno for an error. */
static int examine(int fd, int want_flags, int want_xattrs, unsigned *flags, int *xattrs)
{
    ssize_t size;

    *flags = 0;
    *xattrs = 0;
    if (want_flags && ioctl(fd, FS_IOC_GETFLAGS, flags) < 0) {
        if (!has_none(errno))
            return 0;
        *flags = 0;
    }
    if (want_xattrs) {
        size = flistxattr(fd, NULL, 0);
        if (size < 0 && !has_none(errno))
            return 0;
        *xattrs = size > 0;
    }
    return 1;
}

PyObject *open_and_examine(PyObject *module, PyObject *args)
{
    int directory, want_flags, want_xattrs, fd, xattrs = 0, done = 0;
    unsigned flags = 0;
    PyObject *name;
    struct stat st;

    (void)module;
    if (!PyArg_ParseTuple(args, "iO&pp", &directory, PyUnicode_FSConverter, &name, &want_flags, &want_xattrs))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    fd = open_at(directory, PyBytes_AsString(name), OPEN_TO_READ, 0);
    if (fd >= 0) {
        done = fstat(fd, &st) == 0 && (!(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) || examine(fd, want_flags, want_xattrs, &flags, &xattrs));
        if (!done)
            close_after_error(fd);
    }
    Py_END_ALLOW_THREADS
    Py_DECREF(name);
    if (!done)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("(iIi(IKKKIILLL))", fd, flags, xattrs, (unsigned)st.st_mode, (unsigned long long)st.st_dev,
                         (unsigned long long)st.st_ino, (unsigned long long)st.st_nlink, (unsigned)st.st_uid,
                         (unsigned)st.st_gid, (long long)st.st_size, nanoseconds(st.st_mtim), nanoseconds(st.st_ctim));
}

PyObject *read_rest(PyObject *module, PyObject *args)
{
    int fd, checked = 1, error = 0;
    Py_buffer view;
    long long size, mtime_ns, ctime_ns;
    ssize_t count;
    struct stat st;

    (void)module;
    if (!PyArg_ParseTuple(args, "iw*LLL", &fd, &view, &size, &mtime_ns, &ctime_ns))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    do
        count = read(fd, view.buf, (size_t)view.len);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        error = errno;
    else if (count == view.len) {
        checked = fstat(fd, &st) == 0 && st.st_size == size && nanoseconds(st.st_mtim) == mtime_ns
                  && nanoseconds(st.st_ctim) == ctime_ns;
        if (checked)
            close(fd);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromSsize_t(checked ? count : -1);
}

/* The content of a file of `size` bytes, fewer where it shrank; NULL with errno for an error. */
static char *read_content(int fd, size_t size, size_t *have)
{
    char *content = malloc(size ? size : 1);

    *have = 0;
    if (!content)
        errno = ENOMEM;
    while (content && *have < size) {
        ssize_t count = read(fd, content + *have, size - *have);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            free(content);
            return NULL;
        }
        if (count == 0)
            break;
        *have += (size_t)count;
    }
    return content;
}

PyObject *read_whole(PyObject *module, PyObject *args)
{
    int directory, fd, known = 0, wanted = 0;
    long long limit;
    size_t have = 0;
    char *content = NULL;
    PyObject *name, *data;
    struct stat st;

    (void)module;
    if (!PyArg_ParseTuple(args, "iO&L", &directory, PyUnicode_FSConverter, &name, &limit))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    fd = open_at(directory, PyBytes_AsString(name), OPEN_TO_READ, 0);
    if (fd >= 0) {
        known = fstat(fd, &st) == 0;
        wanted = known && S_ISREG(st.st_mode) && st.st_size <= limit;
        if (wanted)
            content = read_content(fd, (size_t)st.st_size, &have);
        close_after_error(fd);
    }
    Py_END_ALLOW_THREADS
    Py_DECREF(name);
    if (!known || (wanted && !content))
        return PyErr_SetFromErrno(PyExc_OSError);
    if (!wanted)
        return Py_BuildValue("(IL)", (unsigned)st.st_mode, (long long)st.st_size);
    data = PyBytes_FromStringAndSize(content, (Py_ssize_t)have); /* a copy, which costs less than a second wait for the GIL */
    free(content);
    return data;
}

static int write_all_at(int fd, const char *data, size_t size, off_t offset)
{
    while (size) {
        ssize_t count = pwrite(fd, data, size, offset);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return 0;
        data += count;
        size -= (size_t)count;
        offset += count;
    }
    return 1;
}

/* Writes a new file's content, whole blocks of zeros left out. */
static int write_sparse(int fd, const char *data, size_t size)
{
    static const char zeros[BLOCK];
    size_t done = 0;

    for (size_t start = 0; start + BLOCK <= size; start += BLOCK)
        if (data[start] == 0 && memcmp(data + start, zeros, BLOCK) == 0) {
            if (!write_all_at(fd, data + done, start - done, (off_t)done))
                return 0;
            done = start + BLOCK;
        }
    if (!write_all_at(fd, data + done, size - done, (off_t)done))
        return 0;
    return done < size || size == 0 || ftruncate(fd, (off_t)size) == 0;
}

struct new_file {
    const char *temporary, *name; /* inside of the list that was given */
    Py_buffer data;
    mode_t mode;
    long long mtime_ns;
};

/* Returns 0, an errno with the temporary file gone, or a negative errno with it left because only the rename failed. */
static int create(int directory, const struct new_file *file, long long atime_ns, int sparse)
{
    struct timespec times[2] = {timespec_of(atime_ns), timespec_of(file->mtime_ns)};
    size_t size = (size_t)file->data.len;
    int written, error = 0;
    int fd = open_at(directory, file->temporary, OPEN_NEW, file->mode);

    if (fd < 0)
        return errno;
    written = (sparse ? write_sparse(fd, file->data.buf, size) : write_all_at(fd, file->data.buf, size, 0))
              && futimens(fd, times) == 0;
    if (!written)
        error = errno;
    if (close(fd) < 0 && written) /* some file systems tell only now that there was no room */
        error = errno;
    if (error)
        unlinkat(directory, file->temporary, 0);
    else if (renameat(directory, file->temporary, directory, file->name) < 0)
        error = -errno;
    return error;
}

/* Takes what `files` has without copying it; the number taken, fewer than `count` with an exception set. */
static Py_ssize_t take_files(PyObject *files, struct new_file *taken, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(files, i);
        int mode;

        if (item && !PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "A file to create is not a tuple");
            return i;
        }
        if (!item || !PyArg_ParseTuple(item, "yyy*iL", &taken[i].temporary, &taken[i].name, &taken[i].data, &mode,
                                       &taken[i].mtime_ns))
            return i;
        taken[i].mode = (mode_t)mode;
    }
    return count;
}

PyObject *create_files(PyObject *module, PyObject *args)
{
    int directory, sparse, error = 0;
    long long atime_ns;
    Py_ssize_t count, taken, done = 0;
    PyObject *files, *result = NULL;
    struct new_file *items;

    (void)module;
    if (!PyArg_ParseTuple(args, "iOLp", &directory, &files, &atime_ns, &sparse))
        return NULL;
    if (!PyList_Check(files)) {
        PyErr_SetString(PyExc_TypeError, "The files are not a list");
        return NULL;
    }
    count = PyList_Size(files);
    items = PyMem_Calloc((size_t)count + 1, sizeof *items);
    if (!items)
        return PyErr_NoMemory();
    taken = take_files(files, items, count);
    if (taken == count) {
        Py_BEGIN_ALLOW_THREADS
        while (done < count && (error = create(directory, &items[done], atime_ns, sparse)) == 0)
            done++;
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("(nii)", done, error < 0 ? -error : error, error < 0);
    }
    for (Py_ssize_t i = 0; i < taken; i++)
        PyBuffer_Release(&items[i].data);
    PyMem_Free(items);
    return result;
}
