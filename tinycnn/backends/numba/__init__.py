"""The Numba backend: compiled loops over NumPy arrays, on all cores.

Numba reads its settings, environment variables whose names begin with ``NUMBA_``, when it is imported. This package
imports it first, so that a setting with which it does not work is a BackendError.
"""

import logging
import os
import warnings

from tinycnn.errors import BackendError


def _import_numba() -> None:
    """Raises BackendError if a setting prevents the import, ImportError if a package does."""
    with warnings.catch_warnings(record=True) as about_settings:
        warnings.simplefilter("always")
        try:
            import numba
        except ImportError:  # for instance a NumPy that is newer than this Numba
            raise
        except Exception as error:
            settings = " ".join(sorted(name for name in os.environ if name.startswith("NUMBA_")))
            advice = f"`unset {settings}`" if settings else "`pip install --upgrade numba`"
            raise BackendError(
                f"backend 'numba' cannot be loaded ({error}): {advice}, or use `backend=\"numpy\"`"
            ) from error
    for warning in about_settings:
        logging.getLogger(__name__).warning("%s", str(warning.message).partition("\n")[0])
    if numba.config.DISABLE_JIT:
        raise BackendError(
            "backend 'numba' needs compilation, which NUMBA_DISABLE_JIT disables: `unset NUMBA_DISABLE_JIT`, or use "
            '`backend="numpy"`'
        )


_import_numba()
