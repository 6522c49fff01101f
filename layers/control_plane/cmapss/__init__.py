"""The one reader and checker of the C-MAPSS data format; standard library only.

    table = read_table("train_FD001.txt.gz")           # 26 columns, checked; DataError says what is wrong where
    result = check(s3_body, "test_FD001.txt")          # streaming, bounded memory, for files of any size

The format: train and test files hold 26 numbers a line, separated by white space: unit, cycle, three settings, 21
sensors; a RUL file holds one whole number a line. See `cmapss.errors.RULES` for all that is checked. Lines may end with
LF or CR LF (the latter makes another digest, so another version); the last line must end too.
"""

from .columns import COLUMNS, MAX_COUNT, MAX_RUL, MEASUREMENTS, SENSORS, SETTINGS, Column
from .errors import RULES, DataError, Violation
from .files import CheckResult, Table, check, check_trio, read_rul, read_table, sha256
from .names import ROLES, FileName, Role, parse_name

__all__ = [
    "COLUMNS",
    "MAX_COUNT",
    "MAX_RUL",
    "MEASUREMENTS",
    "ROLES",
    "RULES",
    "SENSORS",
    "SETTINGS",
    "CheckResult",
    "Column",
    "DataError",
    "FileName",
    "Role",
    "Table",
    "Violation",
    "check",
    "check_trio",
    "parse_name",
    "read_rul",
    "read_table",
    "sha256",
]
