"""Exercises: files of tinycnn with the backward passes removed, and the checks that turn green when you write them.

Every exercise is a module here, in the order in which one meets them: which source file it is cut from, which places
are left empty, what to do, and ``check(student)``, which raises ``Mistake``. The file a student gets is cut from
tinycnn's own source when it is asked for, and the solution is that source: neither can grow old.
"""

from tinycnn.exercises.checking import Mistake
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.folder import EXERCISES, Outcome, check_file, copy_out

__all__ = ["EXERCISES", "Exercise", "Hole", "Mistake", "Outcome", "check_file", "copy_out"]
