/* Runs of plain files for the Python module; see _runs.py for what it does. Needs the GIL and keeps it. */

#ifndef CASYNC_PY_RUNS_H
#define CASYNC_PY_RUNS_H

PyObject *plain_run(PyObject *module, PyObject *args);

#endif
