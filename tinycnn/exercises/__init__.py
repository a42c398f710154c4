"""Exercises: files of tinycnn with the backward passes removed, and checks of what students write in their place.

Every exercise is a module here, numbered in the order of the chapters: the source file that it is cut from, the places
that are left empty, the task, and ``check(student)``, which raises ``Mistake``. The student's file is cut from
tinycnn's own source when it is copied out, and the solution is that source, so both are always up to date.

A check runs all situations of an exercise. Where one is wrong, its numbers are compared with those to which common
mistakes lead. Tables of these, and their hints, stand in the modules, in two forms: formulas of the wrong numbers, for
the situation that is reported, or mistakes to plant into the solution, for the outcomes of all situations (`locating`).
"""

from tinycnn.exercises.checking import Mistake
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.folder import EXERCISES, Outcome, check_file, copy_out

__all__ = ["EXERCISES", "Exercise", "Hole", "Mistake", "Outcome", "check_file", "copy_out"]
