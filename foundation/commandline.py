"""How every command line of this project ends: errors become messages and exit codes, never tracebacks."""

from __future__ import annotations

import sys
from collections.abc import Callable

from foundation.errors import BenchError
from foundation.rooms import require_own_rooms


def run_app(application: Callable[[], object]) -> None:
    """Runs a command line of this project."""
    try:
        require_own_rooms()
        application()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away, e.g. `| head`
        sys.exit(141)
