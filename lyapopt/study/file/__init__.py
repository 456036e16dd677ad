"""Reading study files: YAML 1.2, validated, typed, with errors that show the place."""

from lyapopt.study.file.classes import ClassSpec
from lyapopt.study.file.document import Issue, StudyFileError
from lyapopt.study.file.load import load_study_file
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.schema import json_schema
from lyapopt.study.file.task_section import BuiltinTask, CustomTask

__all__ = [
    "BuiltinTask",
    "ClassSpec",
    "CustomTask",
    "Issue",
    "StudyFile",
    "StudyFileError",
    "json_schema",
    "load_study_file",
]
