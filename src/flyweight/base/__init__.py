"""What every room stands on: errors for users, atomic files, seeds, text on a terminal."""

from flyweight.base.errors import ToldByAnother, UserError
from flyweight.base.files import (
    atomic_folder,
    atomic_write,
    explain_write_errors,
    leads_inside,
    open_own,
    path_inside,
    read_json,
    write_json,
)
from flyweight.base.locks import Busy, exclusive, is_held
from flyweight.base.printable import never_fail, printable, write_out
from flyweight.base.seeds import derive_seed

__all__ = [
    "Busy",
    "ToldByAnother",
    "UserError",
    "atomic_folder",
    "atomic_write",
    "derive_seed",
    "exclusive",
    "explain_write_errors",
    "is_held",
    "leads_inside",
    "never_fail",
    "open_own",
    "path_inside",
    "printable",
    "read_json",
    "write_json",
    "write_out",
]
