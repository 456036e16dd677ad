"""Reading study files: YAML 1.2, validated, typed, with errors that show the place."""

from lyapopt.study.file.classes import ClassSpec
from lyapopt.study.file.document import Issue, StudyFileError
from lyapopt.study.file.import_paths import import_object
from lyapopt.study.file.load import load_study_file, study_of_definition
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.schema import json_schema_text
from lyapopt.study.file.task_section import BuiltinTask, CustomTask
from lyapopt.study.file.values import absolute_url

__all__ = [
    "BuiltinTask",
    "ClassSpec",
    "CustomTask",
    "Issue",
    "StudyFile",
    "StudyFileError",
    "absolute_url",
    "import_object",
    "json_schema_text",
    "load_study_file",
    "study_of_definition",
]
