/* Steps on files for the Python module; see _python.py for what each does. All need the GIL and release it. */

#ifndef CASYNC_PY_FILES_H
#define CASYNC_PY_FILES_H

PyObject *open_and_examine(PyObject *module, PyObject *args);
PyObject *read_rest(PyObject *module, PyObject *args);
PyObject *read_whole(PyObject *module, PyObject *args);
PyObject *create_files(PyObject *module, PyObject *args);

#endif
