"""``python -m tinycnn COMMAND``, the same as ``tinycnn COMMAND``: see ``tinycnn/commands/``."""

import sys

from tinycnn.commands import main

sys.exit(main())
