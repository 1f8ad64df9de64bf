"""tyro, with a dataclass."""

import tyro
from keys import DECLARED, dataclass_of, nested, print_values

print_values(vars(tyro.cli(dataclass_of(nested(DECLARED)))))
